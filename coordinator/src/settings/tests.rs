//! What a settings file may say.

use ironwright_api::Category;

use super::*;

fn parse(text: &str) -> Result<Settings, String> {
    let settings: Settings = toml::from_str(text).map_err(|error| error.to_string())?;
    settings.check().map_err(|error| error.to_string())?;
    Ok(settings)
}

#[test]
fn an_empty_file_is_the_documented_defaults() {
    let settings = parse("").unwrap();
    assert_eq!(settings.listen.to_string(), "127.0.0.1:6385");
    assert_eq!((settings.deadlines.await_agent, settings.boot.attempts), (300, 3));
    assert!(settings.clean.automated);
}

#[test]
fn what_cannot_work_is_refused_with_the_key_and_the_way_out() {
    for (text, expected) in [
        ("listen = '0.0.0.0:6385'", "no authentication"),
        (
            "listen = '0.0.0.0:1'\nauth_strategy = 'http_basic'\nhttp_basic_auth_user_file = 'u'",
            "tls_certificate",
        ),
        ("auth_strategy = 'http_basic'", "http_basic_auth_user_file"),
        ("auth_strategy = 'keystone'", "http_basic"),
        ("tls_key = 'k'", "tls_certificate"),
        ("lisen = '127.0.0.1:6385'", "lisen"),
        ("[provisioning]\nlisten = '172.22.0.1:6388'", "insecure_plain_http"),
        ("enabled_hardware_types = []", "enabled_hardware_types"),
        ("enabled_hardware_types = ['ilo']", "ipmi"),
        ("[deadlines]\nhold = 0", "deadlines.hold"),
        ("[boot]\nattempts = 0", "boot.attempts"),
        ("[boot]\nattempts = 4000000000", "boot.attempts"),
        ("[boot]\nkernel = '/nosuch/k'", "boot.kernel"),
        ("[boot]\nkernel_append_params = \"a\\nb\"", "boot.kernel_append_params"),
        ("[ipmi]\nmin_command_interval_ms = 99999999999999", "ipmi.min_command_interval_ms"),
        ("[power]\nsync_interval = 9223372036854775807", "power.sync_interval"),
        ("[provisioning]\nadvertise = 'http://x/ y'", "provisioning.advertise"),
        ("[cleaning]\nconcurrency = 0", "cleaning.concurrency"),
        ("[cleaning.priorities]\n'deploy.erase_devices' = 1", "cleaning.erase_devices_priority"),
        ("[cleaning.priorities]\nfoo = 1", "interface.step"),
        ("[plugins]\nkeys = ['/nosuch/k.pub']", "plugins.keys"),
        ("[plugins]\ndir = '/nosuch'\nkeys = ['/proc/self/stat']", "plugins.dir"),
        ("[cleaning]\nleast_category = 'destroy'", "destroy"),
        ("[deadlines]\nagent_silent = 0", "deadlines.agent_silent"),
        ("[deadlines]\ndeploy = 99999999", "deadlines.deploy"),
    ] {
        let error = parse(text).unwrap_err();
        assert!(error.contains(expected), "{text:?} gave {error}");
    }
}

#[test]
fn cleaning_is_read_under_both_of_its_names() {
    for table in ["cleaning", "clean"] {
        let text = format!(
            "[{table}]\nerase_devices_priority = 0\nleast_category = 'purge'\nskip_read_only = true"
        );
        let clean = parse(&text).unwrap().clean;
        assert!(clean.automated && clean.skip_read_only && !clean.allow_weaker_erase);
        assert_eq!(clean.priorities()["deploy.erase_devices"], 0);
        assert_eq!((clean.priorities().len(), clean.least_category), (1, Category::Purge));
    }
}

#[test]
fn plain_http_is_accepted_when_it_is_asked_for_by_name() {
    parse("[provisioning]\nlisten = '172.22.0.1:6388'\ninsecure_plain_http = true").unwrap();
}
