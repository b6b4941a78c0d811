//! Who may use the API.

use std::sync::Arc;

use serde_json::Value;

use super::{app, send};
use crate::http::auth::Users;

#[tokio::test]
async fn with_http_basic_only_users_of_the_file_get_past_the_public_paths() {
    let (mut app, files) = app();
    let path = files.path().join("users");
    // A cheap hash: cost 4 is bcrypt's least.
    let hash = |password: &str| bcrypt::hash(password, 4).unwrap().replacen("$2b$", "$2y$", 1);
    std::fs::write(&path, format!("admin:{}\n", hash("fake-password"))).unwrap();
    app.users = Some(Arc::new(Users::load(path.clone()).unwrap()));
    let routes = crate::http::operator(app);
    let status = async |path: &str, user: Option<&str>| {
        let value = user.map(|user| {
            use base64::Engine as _;
            format!("Basic {}", base64::engine::general_purpose::STANDARD.encode(user))
        });
        let headers: Vec<(&str, &str)> =
            value.iter().map(|value| ("authorization", value.as_str())).collect();
        send(&routes, "GET", path, &headers, &Value::Null).await
    };
    for (path, user, expected) in [
        ("/", None, 200),
        ("/v1", None, 200),
        ("/v1/", None, 200),
        ("/v1/nodes", None, 401),
        ("/v1/nodes", Some("admin:fake-password"), 200),
        ("/v1/nodes", Some("admin:fake-password"), 200),
        ("/v1/nodes", Some("admin:other"), 401),
        ("/v1/nodes", Some("nobody:fake-password"), 401),
        ("/v1/nothing", None, 401),
        ("/v1/nodes", Some("admin"), 401),
    ] {
        let answer = status(path, user).await;
        assert_eq!(answer.status, expected, "{path} {user:?} {}", answer.text);
    }
    let refused = status("/v1/nodes", None).await;
    assert_eq!(refused.json()["error"]["code"], 401);
    assert_eq!(refused.json()["error"]["message"], "Authorization required");
    assert_eq!(refused.header("www-authenticate"), Some("Basic realm=\"Baremetal API\""));
    assert!(refused.header("openstack-request-id").is_some());

    std::fs::write(&path, format!("other:{}\n", hash("fake-second"))).unwrap();
    let later = std::time::SystemTime::now() + std::time::Duration::from_secs(5);
    std::fs::File::options().append(true).open(&path).unwrap().set_modified(later).unwrap();
    assert_eq!(
        status("/v1/nodes", Some("other:fake-second")).await.status,
        200,
        "the file is read again"
    );
    assert_eq!(status("/v1/nodes", Some("admin:fake-password")).await.status, 401);
}
