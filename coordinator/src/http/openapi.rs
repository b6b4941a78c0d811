//! `openapi.json`: the operator's API at its newest microversion, made from the table of routes.

use serde_json::{Map, Value, json};

use super::fields::{self, Field};
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
    json!({
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
                "Node": shown(fields::NODE),
                "Port": shown(fields::PORT),
            },
            "securitySchemes": {"basic": {"type": "http", "scheme": "basic"}},
        },
        "security": [{}, {"basic": []}],
    })
}

fn shown(table: &[Field]) -> Value {
    let properties: Map<String, Value> = table
        .iter()
        .map(|field| (field.0.to_owned(), json!({"x-since": since(field.1)})))
        .collect();
    json!({"type": "object", "properties": properties})
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
            "content": {"application/json": {"schema": {"type": "object"}}},
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
    }
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

    #[test]
    fn every_operation_has_a_name_of_its_own() {
        let table = operator_table();
        let names: BTreeSet<String> = table.iter().map(identifier).collect();
        assert_eq!(names.len(), table.len());
    }
}
