//! `openapi.json`: the operator's API at its newest microversion, made from the table of routes.

mod answer;

use serde_json::{Map, Value, json};

use super::records::Resource;
use super::records::rules::Form;
use super::route::{Input, Route};
use super::version::MAX;

/// The document for these routes.
#[must_use]
pub fn document(table: &[Route]) -> Value {
    let mut paths = Map::new();
    for route in table {
        let path = paths.entry(route.path.clone()).or_insert_with(|| json!({}));
        path[route.method.to_lowercase()] = operation(route);
    }
    let mut document = json!({
        "openapi": "3.1.0",
        "info": {
            "title": "Ironwright: the Bare Metal API of OpenStack Ironic",
            "version": MAX.to_string(),
            "description": "Described at the newest microversion, which a request asks for with the header X-OpenStack-Ironic-API-Version. `x-since` is the first microversion that has an operation or a parameter; older ones answer 404 for an operation and 406 for a parameter.",
            "license": {"name": "Apache-2.0", "identifier": "Apache-2.0"},
        },
        "paths": paths,
        "components": {
            "schemas": {
                "Error": {
                    "type": "object",
                    "required": ["error_message"],
                    "properties": {"error_message": {
                        "type": "string",
                        "description": "JSON text: {faultcode, faultstring, debuginfo}, or {code, title, description}",
                    }},
                },
                "Patch": {
                    "type": "array",
                    "items": {
                        "type": "object",
                        "required": ["op", "path"],
                        "properties": {
                            "op": {"enum": ["add", "replace", "remove"]},
                            "path": {"type": "string", "pattern": "^/"},
                            "value": {},
                        },
                    },
                },
            },
            "securitySchemes": {"basic": {"type": "http", "scheme": "basic"}},
        },
        "security": [{}, {"basic": []}],
    });
    if let Some(schemas) = document["components"]["schemas"].as_object_mut() {
        schemas.extend(answer::schemas());
    }
    document
}

fn since(minor: u16) -> String {
    format!("1.{minor}")
}

fn operation(route: &Route) -> Value {
    let mut parameters = vec![json!({
        "name": "X-OpenStack-Ironic-API-Version",
        "in": "header",
        "schema": {"type": "string", "default": MAX.to_string()},
    })];
    for name in path_parameters(&route.path) {
        parameters.push(
            json!({"name": name, "in": "path", "required": true, "schema": {"type": "string"}}),
        );
    }
    for (name, minor) in &route.query {
        parameters.push(json!({"name": name, "in": "query", "x-since": since(*minor), "schema": {"type": "string"}}));
    }
    let success = match route.success {
        202 | 204 => json!({"description": "Taken."}),
        _ => json!({
            "description": "Done.",
            "content": {"application/json": {"schema": answer::body(route.output)}},
        }),
    };
    let mut operation = json!({
        "operationId": identifier(route),
        "summary": route.summary,
        "x-since": since(route.since),
        "parameters": parameters,
        "responses": {
            route.success.to_string(): success,
            "default": {
                "description": "Refused or failed.",
                "content": {"application/json": {"schema": {"$ref": "#/components/schemas/Error"}}},
            },
        },
    });
    if let Some((schema, required)) = body(route.input) {
        operation["requestBody"] =
            json!({"required": required, "content": {"application/json": {"schema": schema}}});
    }
    operation
}

fn body(input: Input) -> Option<(Value, bool)> {
    match input {
        Input::Nothing => None,
        Input::Object => Some((json!({"type": "object"}), true)),
        Input::Optional => Some((json!({"type": "object"}), false)),
        Input::Patch => Some((json!({"$ref": "#/components/schemas/Patch"}), true)),
        Input::Record(resource) => Some((record(resource), true)),
        Input::Node => Some((answer::new_node(), true)),
        Input::Port => Some((answer::new_port(), true)),
        Input::Members(members) => Some((object_of(members), true)),
    }
}

fn object_of(members: &[(&str, &str)]) -> Value {
    let of = |(name, kind): &(&str, &str)| ((*name).to_owned(), json!({"type": kind}));
    let properties: Map<String, Value> = members.iter().map(of).collect();
    json!({"type": "object", "properties": properties, "additionalProperties": false})
}

fn record(resource: &Resource) -> Value {
    let settable = || resource.rules.iter().filter(|rule| !matches!(rule.form, Form::Computed(_)));
    let required: Vec<&str> =
        settable().filter(|rule| rule.required).map(|rule| rule.name).collect();
    let mut properties =
        Map::from_iter([("uuid".to_owned(), json!({"type": "string", "format": "uuid"}))]);
    for rule in settable() {
        let mut schema = rule.form.schema();
        schema["x-since"] = Value::from(since(rule.since));
        properties.insert(rule.name.to_owned(), schema);
    }
    json!({"type": "object", "required": required, "properties": properties, "additionalProperties": false})
}

fn path_parameters(path: &str) -> impl Iterator<Item = &str> {
    path.split('/').filter_map(|part| part.strip_prefix('{')?.strip_suffix('}'))
}

/// `get_v1_nodes_by_node_states`
fn identifier(route: &Route) -> String {
    let path = route.path.replace('{', "by_").replace('}', "");
    let words: Vec<&str> = path.split(['/', '-']).filter(|word| !word.is_empty()).collect();
    format!("{}_{}", route.method.to_lowercase(), words.join("_")).trim_end_matches('_').to_owned()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::*;
    use crate::http::operator_table;

    /// Where the document is kept.
    const FILE: &str = concat!(env!("CARGO_MANIFEST_DIR"), "/openapi.json");

    #[test]
    fn the_document_in_the_tree_is_the_one_of_the_routes() {
        let found = format!("{:#}\n", document(&operator_table()));
        if std::env::var_os("IRONWRIGHT_WRITE_OPENAPI").is_some() {
            std::fs::write(FILE, &found).unwrap();
        }
        let kept = std::fs::read_to_string(FILE).unwrap_or_default();
        assert!(
            kept == found,
            "coordinator/openapi.json is stale: run the tests once with IRONWRIGHT_WRITE_OPENAPI=1 and commit it"
        );
    }

    /// Whether `value` is what `schema` says; the words of a schema that are used here.
    fn fits(schema: &Value, value: &Value, all: &Value) -> bool {
        if let Some(name) = schema["$ref"].as_str() {
            let pointer = name.trim_start_matches('#');
            return fits(all.pointer(pointer).unwrap(), value, all);
        }
        let kind = match value {
            Value::Null => "null",
            Value::Bool(_) => "boolean",
            Value::Number(_) => "integer",
            Value::String(_) => "string",
            Value::Array(_) => "array",
            Value::Object(_) => "object",
        };
        let said = &schema["type"];
        let one_of = |kinds: &Vec<Value>| kinds.iter().any(|known| known == kind);
        let typed = said.is_null() || said == kind || said.as_array().is_some_and(one_of);
        let listed = schema["enum"].as_array().is_none_or(|known| known.contains(value));
        let required = schema["required"].as_array().into_iter().flatten();
        let whole = required.into_iter().all(|key| value.get(key.as_str().unwrap()).is_some());
        let fields = value.as_object().into_iter().flatten();
        // Every field of an answer must be in the document.
        let known = fields.into_iter().all(|(key, field)| match schema.get("properties") {
            Some(properties) => properties.get(key).is_some_and(|schema| fits(schema, field, all)),
            None => true,
        });
        let items = value.as_array().into_iter().flatten();
        typed
            && listed
            && whole
            && known
            && items.into_iter().all(|item| fits(&schema["items"], item, all))
    }

    #[test]
    fn answers_are_what_the_document_says() {
        use crate::http::representation::{self, Shape};
        use crate::node::{ProvisionState, sample};

        let document = document(&operator_table());
        let shape = Shape { version: MAX, fields: None, base: "http://h:6385", conductor: "c0" };
        let plain = crate::node::attributes::blank(
            uuid::Uuid::now_v7(),
            ProvisionState::Enroll,
            jiff::Timestamp::UNIX_EPOCH,
        );
        let nodes = [sample::node(), plain].map(|node| representation::node(&node, &shape));
        let port = representation::port(&sample::port(), &shape);
        for (schema, answer) in [
            ("Nodes", json!({"nodes": nodes, "next": "http://h:6385/v1/nodes?limit=2"})),
            ("Ports", json!({"ports": [port]})),
            ("Node", json!({"links": []})),
        ] {
            let schema = &document["components"]["schemas"][schema];
            assert!(fits(schema, &answer, &document), "{answer:#}");
        }
        for (field, wrong) in
            [("power_state", json!("on")), ("traits", json!("a")), ("x", json!(1))]
        {
            let mut answer = nodes[0].clone();
            answer[field] = wrong;
            assert!(
                !fits(&document["components"]["schemas"]["Node"], &answer, &document),
                "{field}"
            );
        }
    }

    #[test]
    fn every_operation_has_a_name_of_its_own() {
        let table = operator_table();
        let names: BTreeSet<String> = table.iter().map(identifier).collect();
        assert_eq!(names.len(), table.len());
    }
}
