//! Finding the places of a profile on this host: data directories, configuration files, addresses.

use std::collections::BTreeMap;
use std::fs;
use std::path::Path;

use regex::Regex;
use serde_json::{Value, json};
use upshift_model::action::Service;
use upshift_model::profile::{ConfigKey, Place, PlaceSource};
use upshift_model::secret::SECRET;
use upshift_model::template;
use upshift_wire::protocol::Located;

use crate::error::{NodeError, Result};
use crate::installation;
use crate::layout::Layout;
use crate::process::{ProcessId, service, systemd};

/// The places that were found. A source may use places found before: those that are waiting for others are looked for again
/// when those are found. The description of the service may use places, too; then what its process says is asked once they
/// are known, and has the last word.
pub fn locate(
    layout: &Layout,
    places: &BTreeMap<String, Place>,
    service: &Service,
    context: &Value,
) -> Result<BTreeMap<String, Located>> {
    let mut context = object(context);
    context.insert("state_directory".to_owned(), json!(layout.root()));
    let mut search = Search {
        running: Running::default(),
        context,
        found: BTreeMap::new(),
    };
    let seen = search.look_at_process(layout, service)?;
    search.all_places(places);
    if !seen && search.look_at_process(layout, service)? {
        search.found.clear();
        search.all_places(places);
    }
    Ok(search.found)
}

/// Fills in what can be filled in.
fn render_leniently(value: &mut Value, names: &Value) {
    match value {
        Value::String(text) => {
            if let Ok(filled) = template::render_text(text, names) {
                *text = filled;
            }
        }
        Value::Array(items) => items.iter_mut().for_each(|item| render_leniently(item, names)),
        Value::Object(entries) => entries
            .values_mut()
            .for_each(|entry| render_leniently(entry, names)),
        Value::Null | Value::Bool(_) | Value::Number(_) => {}
    }
}

fn object(value: &Value) -> serde_json::Map<String, Value> {
    value.as_object().cloned().unwrap_or_default()
}

#[derive(Default)]
struct Running {
    environment: BTreeMap<String, String>,
    arguments: Vec<String>,
    names: Vec<String>,
}

struct Search {
    running: Running,
    context: serde_json::Map<String, Value>,
    found: BTreeMap<String, Located>,
}

/// What a source yields.
enum Yield {
    Value(String, String),
    Nothing,
    /// It uses a name that is not there, or not yet.
    Unknown,
}

impl Search {
    /// Whether the service has a process.
    fn look_at_process(&mut self, layout: &Layout, service: &Service) -> Result<bool> {
        let unreadable = |error: serde_json::Error| NodeError::refused(error.to_string());
        let mut described = serde_json::to_value(service).map_err(unreadable)?;
        render_leniently(&mut described, &self.names());
        let service: Service = serde_json::from_value(described).map_err(unreadable)?;
        let names = service::names(&service);
        let process = running(layout, service)?;
        if let Some(process) = &process {
            self.running = Running {
                environment: process.environment(),
                arguments: process.arguments(),
                names,
            };
        }
        Ok(process.is_some())
    }

    fn all_places(&mut self, places: &BTreeMap<String, Place>) {
        let mut waiting: Vec<(&String, &Place)> = places.iter().collect();
        loop {
            let before = waiting.len();
            waiting.retain(|(name, place)| !self.try_place(name, place, true));
            if waiting.len() == before {
                break;
            }
        }
        for (name, place) in waiting {
            self.try_place(name, place, false);
        }
    }

    fn names(&self) -> Value {
        let mut names = self.context.clone();
        let mut places = names.get("places").map(object).unwrap_or_default();
        places.extend(
            self.found
                .iter()
                .map(|(name, located)| (name.clone(), json!(located.value))),
        );
        names.insert("places".to_owned(), Value::Object(places));
        Value::Object(names)
    }

    /// Looks for a place; whether the search is over for it. With `wait`, a source that uses an unknown name is waited for.
    fn try_place(&mut self, name: &str, place: &Place, wait: bool) -> bool {
        let pattern = place.pattern.as_deref().and_then(|text| Regex::new(text).ok());
        for source in &place.sources {
            match self.ask(source) {
                Yield::Value(value, source) => {
                    let Some(value) = picked(pattern.as_ref(), value) else {
                        continue;
                    };
                    let Some(value) = self.absolute(place, value) else {
                        return !wait;
                    };
                    let value = if place.secret { SECRET.to_owned() } else { value };
                    self.found.insert(name.to_owned(), Located { value, source });
                    return true;
                }
                Yield::Unknown if wait => return false,
                Yield::Nothing | Yield::Unknown => {}
            }
        }
        // Nothing was unknown: nothing that is found later changes the answer.
        true
    }

    /// A value as the place has it: relative paths count from its base, where it has one. Nothing where that is not known (yet).
    fn absolute(&self, place: &Place, value: String) -> Option<String> {
        match &place.relative_to {
            Some(base) if !value.is_empty() && Path::new(&value).is_relative() => {
                let base = template::render_text(base, &self.names()).ok()?;
                Some(Path::new(&base).join(value).to_string_lossy().into_owned())
            }
            _ => Some(value),
        }
    }

    fn ask(&self, source: &PlaceSource) -> Yield {
        let said = |value: Option<String>, source: String| match value {
            Some(value) => Yield::Value(value, source),
            None => Yield::Nothing,
        };
        match source {
            PlaceSource::Variable(name) => said(self.variable(name), format!("variable {name} of the host")),
            PlaceSource::Environment(name) => {
                let value = self
                    .running
                    .environment
                    .get(name)
                    .filter(|value| !value.is_empty())
                    .cloned();
                said(value, format!("environment variable {name} of the process"))
            }
            PlaceSource::Argument(name) => said(
                argument(&self.running.arguments, name),
                format!("argument {name} of the process"),
            ),
            PlaceSource::Flag(name) => said(
                flag(&self.running.arguments, name),
                format!("argument {name} of the process"),
            ),
            PlaceSource::Options(pattern) => said(
                options(&self.running.arguments, pattern),
                "the arguments of the process".to_owned(),
            ),
            PlaceSource::ConfigKey(key) => self.config_key(key),
            PlaceSource::Unit(program) => said(
                systemd::unit_of(program),
                format!("the cgroup of the process of {program}"),
            ),
            PlaceSource::Package(name) => said(
                installation::manager_of(name).map(str::to_owned),
                format!("the package manager that installed {name}"),
            ),
            PlaceSource::Processes(separator) => {
                let names = self.running.names.join(separator);
                let source = "the processes that run".to_owned();
                said((!names.is_empty()).then_some(names), source)
            }
            PlaceSource::Exists(path) => match template::render_text(path, &self.names()) {
                Ok(path) => {
                    let exists = Path::new(&path).exists();
                    let source = format!("{path} exists");
                    said(exists.then_some(path), source)
                }
                Err(_) => Yield::Unknown,
            },
            PlaceSource::Default(value) => match template::render_text(value, &self.names()) {
                Ok(value) => Yield::Value(value, "default".to_owned()),
                Err(_) => Yield::Unknown,
            },
        }
    }

    fn variable(&self, name: &str) -> Option<String> {
        match self.context.get("node")?.get(name)? {
            Value::String(text) => Some(text.clone()),
            Value::Null => None,
            other => Some(other.to_string()),
        }
    }

    fn config_key(&self, key: &ConfigKey) -> Yield {
        let Ok(file) = template::render_text(&key.file, &self.names()) else {
            return Yield::Unknown;
        };
        let value = fs::read_to_string(&file)
            .ok()
            .and_then(|text| config_value(&text, &key.key).or_else(|| key.nested_in(&text)));
        match value {
            Some(value) => Yield::Value(value, format!("key {} in {file}", key.key)),
            None => Yield::Nothing,
        }
    }
}

/// The process of a service. One that its own commands have started is recognised by itself, so that neither a unit nor systemd has to
/// be there, and the name of the unit may be one of the places that are looked for.
fn running(layout: &Layout, service: Service) -> Result<Option<ProcessId>> {
    let Service::Commands(mut commands) = service else {
        return service::find(layout, &service);
    };
    if let Some(process) = service::of_commands(&commands) {
        return Ok(Some(process));
    }
    commands.unit = commands.unit.filter(|unit| !unit.contains("{{"));
    service::find(layout, &Service::Commands(commands))
}

/// The value of an option: `--name value`, `--name=value`, with one dash as well as with two. The last one counts.
fn argument(arguments: &[String], name: &str) -> Option<String> {
    let bare = |text: &str| text.trim_start_matches('-').to_owned();
    let wanted = bare(name);
    let mut found = None;
    for (index, argument) in arguments
        .iter()
        .enumerate()
        .skip(1)
        .filter(|(_, argument)| argument.starts_with('-'))
    {
        match bare(argument).split_once('=') {
            Some((name, value)) if name == wanted => found = Some(value.to_owned()),
            None if bare(argument) == wanted => {
                found = arguments
                    .get(index + 1)
                    .filter(|value| !value.starts_with("--"))
                    .cloned()
                    .or(found);
            }
            _ => {}
        }
    }
    found
}

/// What the pattern takes out of a value: its first group.
fn picked(pattern: Option<&Regex>, value: String) -> Option<String> {
    match pattern {
        None => Some(value),
        Some(pattern) => Some(pattern.captures(&value)?.get(1)?.as_str().to_owned()),
    }
}

/// A switch: `true` where it stands alone, else what stands behind its `=`. The last one counts.
fn flag(arguments: &[String], name: &str) -> Option<String> {
    let wanted = name.trim_start_matches('-');
    let given = arguments
        .iter()
        .skip(1)
        .filter(|argument| argument.starts_with('-'));
    given
        .filter_map(|argument| {
            let argument = argument.trim_start_matches('-');
            match argument.split_once('=') {
                Some((name, value)) if name == wanted => Some(value.to_owned()),
                None if argument == wanted => Some("true".to_owned()),
                _ => None,
            }
        })
        .next_back()
}

/// The names of the options that a pattern matches, each once, in the order of the command line.
fn options(arguments: &[String], pattern: &str) -> Option<String> {
    let pattern = Regex::new(pattern).ok()?;
    let mut names: Vec<&str> = Vec::new();
    for argument in arguments
        .iter()
        .skip(1)
        .filter(|argument| argument.starts_with('-'))
    {
        let name = argument.split('=').next().unwrap_or(argument);
        if pattern.is_match(name) && !names.contains(&name) {
            names.push(name);
        }
    }
    (!names.is_empty()).then(|| names.join(","))
}

/// The value of a key in `key: value`, `key = value` or `key=value` lines, without quotes around it and without the comment
/// after it. The last one counts.
fn config_value(text: &str, key: &str) -> Option<String> {
    let value = |line: &str| {
        let rest = line.trim_start();
        let quoted = |quote: &str| rest.strip_prefix(quote)?.strip_prefix(key)?.strip_prefix(quote);
        let rest = ["", "\"", "'"].into_iter().find_map(quoted)?;
        rest.trim_start()
            .strip_prefix([':', '='])
            .map(|value| unquoted(value.trim()).to_owned())
    };
    text.lines().filter_map(value).rfind(|value| !value.is_empty())
}

fn unquoted(value: &str) -> &str {
    for quote in ['"', '\''] {
        if let Some(inner) = value.strip_prefix(quote) {
            return inner.split(quote).next().unwrap_or(inner);
        }
    }
    value.split(" #").next().unwrap_or(value).trim_end()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn options_are_found_in_every_spelling() {
        let arguments: Vec<String> = [
            "etcd",
            "--name",
            "n1",
            "--data-dir=/a",
            "-data-dir",
            "/b",
            "--flag",
            "--x",
            "1",
        ]
        .map(str::to_owned)
        .to_vec();
        let value = |name: &str| argument(&arguments, name);
        assert_eq!(value("--name").as_deref(), Some("n1"));
        assert_eq!(value("--data-dir").as_deref(), Some("/b"));
        assert_eq!(value("--flag"), None);
        assert_eq!(value("-x").as_deref(), Some("1"));
        assert_eq!(value("--nothing"), None);
        let java = ["java".to_owned(), "-Dalluxio.home=/opt/a".to_owned()];
        assert_eq!(argument(&java, "-Dalluxio.home").as_deref(), Some("/opt/a"));
    }

    #[test]
    fn switches_and_names_of_options_are_found_without_their_values() {
        let arguments: Vec<String> = [
            "etcd",
            "--enable-v2",
            "--proxy=readonly",
            "-experimental-compact-hash-check-enabled",
            "true",
            "--client-cert-auth=false",
            "--data-dir",
            "/a",
        ]
        .map(str::to_owned)
        .to_vec();
        assert_eq!(flag(&arguments, "--enable-v2").as_deref(), Some("true"));
        assert_eq!(flag(&arguments, "client-cert-auth").as_deref(), Some("false"));
        assert_eq!(flag(&arguments, "--strict"), None);
        let gone = "^--?(enable-v2|proxy.*|experimental-.*)$";
        assert_eq!(
            options(&arguments, gone).as_deref(),
            Some("--enable-v2,--proxy,-experimental-compact-hash-check-enabled")
        );
        assert_eq!(options(&arguments, "^--?nothing$"), None);
    }

    #[test]
    fn a_pattern_takes_the_first_of_several_values() {
        let first = Regex::new(r"^\s*([^,\s]+)").unwrap();
        let urls = "https://10.0.0.1:2379, https://127.0.0.1:2379".to_owned();
        assert_eq!(
            picked(Some(&first), urls).as_deref(),
            Some("https://10.0.0.1:2379")
        );
        assert_eq!(picked(Some(&first), String::new()), None);
    }

    #[test]
    fn keys_below_others_are_found_in_yaml() {
        let text = "name: n1\nclient-transport-security:\n  cert-file: /a.pem\n  client-cert-auth: true\n\
                    peer-transport-security: {cert-file: /b.pem}\na.b = flat\n";
        let yaml = text.replace("a.b = flat\n", "");
        let nested = |key: &str| {
            let key = ConfigKey {
                file: String::new(),
                key: key.to_owned(),
            };
            key.nested_in(&yaml)
        };
        assert_eq!(
            nested("client-transport-security.cert-file").as_deref(),
            Some("/a.pem")
        );
        assert_eq!(
            nested("client-transport-security.client-cert-auth").as_deref(),
            Some("true")
        );
        assert_eq!(
            nested("peer-transport-security.cert-file").as_deref(),
            Some("/b.pem")
        );
        assert_eq!(nested("client-transport-security.key-file"), None);
        assert_eq!(nested("client-transport-security"), None);
        assert_eq!(config_value(text, "a.b").as_deref(), Some("flat"));
    }

    #[test]
    fn keys_are_found_in_every_spelling() {
        let text = "a=1\n b : 'two words' # why\n\"c\": \"x#y\"\nd = plain # comment\n#e=1\na = 2\nurl: http://h:1/p\nf:\n";
        for (key, value) in [
            ("a", Some("2")),
            ("b", Some("two words")),
            ("c", Some("x#y")),
            ("d", Some("plain")),
            ("e", None),
            ("f", None),
            ("url", Some("http://h:1/p")),
        ] {
            assert_eq!(config_value(text, key).as_deref(), value, "{key}");
        }
    }

    #[test]
    fn the_first_source_that_yields_something_wins_and_places_may_use_each_other() {
        let directory = tempfile::tempdir().unwrap();
        let layout = Layout::open(&directory.path().join("state")).unwrap();
        let conf = directory.path().join("server.yml");
        fs::write(&conf, "data-dir: /srv/data\n").unwrap();
        let place = |sources: Vec<PlaceSource>| Place {
            description: String::new(),
            sources,
            required: false,
            pattern: None,
            data: None,
            relative_to: None,
            secret: false,
        };
        let places = BTreeMap::from([
            // Sorted before what it needs.
            (
                "a_log".to_owned(),
                place(vec![PlaceSource::Default("{{ places.data }}/log".to_owned())]),
            ),
            (
                "data".to_owned(),
                place(vec![
                    PlaceSource::Environment("NO_SUCH_VARIABLE".to_owned()),
                    PlaceSource::ConfigKey(ConfigKey {
                        file: "{{ places.config }}".to_owned(),
                        key: "data-dir".to_owned(),
                    }),
                    PlaceSource::Default("/var/lib/x".to_owned()),
                ]),
            ),
            (
                "config".to_owned(),
                place(vec![PlaceSource::Variable("config".to_owned())]),
            ),
            (
                "missing".to_owned(),
                place(vec![PlaceSource::Exists("/no/such/path".to_owned())]),
            ),
            (
                "needs_missing".to_owned(),
                place(vec![
                    PlaceSource::Exists("{{ places.missing }}/x".to_owned()),
                    PlaceSource::Default("{{ state_directory }}/x".to_owned()),
                ]),
            ),
            (
                "a_relative_one".to_owned(),
                Place {
                    relative_to: Some("{{ places.data }}".to_owned()),
                    ..place(vec![PlaceSource::Default("patches".to_owned())])
                },
            ),
            (
                "a_password".to_owned(),
                Place {
                    secret: true,
                    ..place(vec![PlaceSource::Variable("a_password".to_owned())])
                },
            ),
            (
                "no_password".to_owned(),
                Place {
                    secret: true,
                    ..place(vec![PlaceSource::Variable("no_password".to_owned())])
                },
            ),
            (
                "from_nowhere".to_owned(),
                Place {
                    relative_to: Some("{{ places.missing }}".to_owned()),
                    ..place(vec![PlaceSource::Default("patches".to_owned())])
                },
            ),
        ]);
        let service = Service::Commands(upshift_model::action::CommandService {
            start: command(),
            stop: command(),
            unit: None,
            pid_file: Some("/no/such/pid".to_owned()),
            process: None,
            processes: BTreeMap::new(),
        });
        let context = json!({"node": {"name": "n1", "config": conf, "a_password": "open sesame"}});
        let found = locate(&layout, &places, &service, &context).unwrap();
        let value = |name: &str| {
            found
                .get(name)
                .map(|located| (located.value.as_str(), located.source.as_str()))
        };
        // A secret stays on the host: only that it is set is told.
        let password = ("(secret)", "variable a_password of the host");
        assert_eq!(
            (value("a_password"), value("no_password")),
            (Some(password), None)
        );
        let key_source = format!("key data-dir in {}", conf.display());
        assert_eq!(value("data"), Some(("/srv/data", key_source.as_str())));
        assert_eq!(value("a_log"), Some(("/srv/data/log", "default")));
        assert_eq!(value("config").unwrap().1, "variable config of the host");
        assert_eq!(value("missing"), None);
        assert_eq!(value("a_relative_one").unwrap().0, "/srv/data/patches");
        assert_eq!(
            value("from_nowhere"),
            None,
            "what cannot be resolved is not found"
        );
        assert_eq!(value("needs_missing").unwrap().1, "default");
    }

    fn command() -> upshift_model::action::Command {
        serde_json::from_value(json!({"argv": ["true"]})).unwrap()
    }
}
