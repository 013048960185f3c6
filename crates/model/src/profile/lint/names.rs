//! Which names an expression or a template may use, by where it stands.

use std::borrow::Cow;
use std::sync::LazyLock;

use regex::Regex;

/// The names that may be used in one kind of place.
pub(super) struct Names {
    /// What the place is, in words.
    pub place: &'static str,
    /// The names.
    pub roots: &'static [&'static str],
}

/// Expressions and messages about one server's facts: checks, conditions, blocked edges.
pub(super) const FACTS: Names = Names {
    place: "a condition over one server's facts",
    roots: &[
        "node", "name", "places", "variant", "target", "probes", "host", "version", "leader", "from", "to",
    ],
};

/// Expressions and messages about all servers' facts.
pub(super) const CLUSTER: Names = Names {
    place: "a condition over the whole cluster",
    roots: &["nodes", "from", "to"],
};

/// Expressions over the value of a probe, before there is a plan.
pub(super) const FACT: Names = Names {
    place: "an expression over a probe's value",
    roots: &["value", "node", "places"],
};

/// What a step waits for.
pub(super) const PROOF: Names = Names {
    place: "a proof",
    roots: &[
        "value",
        "values",
        "node",
        "places",
        "state_directory",
        "from",
        "to",
        "want",
        "run",
        "hop",
        "strategy",
        "let",
        "bound",
        "before",
        "befores",
        "leaving",
        "output",
    ],
};

/// What decides whether a step is done, and what its bindings are computed from.
pub(super) const ONLY_IF: Names = Names {
    place: "the condition of a verb",
    roots: &[
        "value",
        "values",
        "node",
        "places",
        "state_directory",
        "from",
        "to",
        "want",
        "run",
        "hop",
        "strategy",
        "before",
        "befores",
        "leaving",
    ],
};

/// Texts of actions and of the service.
pub(super) const ACTION: Names = Names {
    place: "an action",
    roots: &[
        "node",
        "places",
        "state_directory",
        "from",
        "to",
        "want",
        "run",
        "hop",
        "strategy",
        "let",
        "bound",
    ],
};

/// What a step waits for that is done on a load balancer.
pub(super) const BALANCER_PROOF: Names = Names {
    place: "a proof",
    roots: &[
        "value",
        "values",
        "node",
        "balancer",
        "places",
        "state_directory",
        "from",
        "to",
        "want",
        "run",
        "hop",
        "strategy",
        "let",
        "bound",
        "before",
        "befores",
        "leaving",
        "output",
    ],
};

/// What a guard waits for: what a server can see by itself, without what was seen before.
pub(super) const GUARD: Names = Names {
    place: "what a guard waits for",
    roots: &[
        "value",
        "node",
        "places",
        "state_directory",
        "from",
        "to",
        "want",
        "strategy",
        "leaving",
    ],
};

/// What decides whether a step is done on a load balancer.
pub(super) const BALANCER_ONLY_IF: Names = Names {
    place: "the condition of a verb",
    roots: &[
        "value",
        "values",
        "node",
        "balancer",
        "places",
        "state_directory",
        "from",
        "to",
        "want",
        "run",
        "hop",
        "strategy",
        "before",
        "befores",
        "leaving",
    ],
};

/// Texts of actions that are done on a load balancer.
pub(super) const BALANCER_ACTION: Names = Names {
    place: "an action",
    roots: &[
        "node",
        "balancer",
        "places",
        "state_directory",
        "from",
        "to",
        "want",
        "run",
        "hop",
        "strategy",
        "let",
        "bound",
    ],
};

/// Texts of probes that are only observed during a run.
pub(super) const RUN_PROBE: Names = Names {
    place: "a probe",
    roots: &[
        "node",
        "balancer",
        "places",
        "state_directory",
        "from",
        "to",
        "want",
        "run",
        "hop",
        "strategy",
        "let",
        "bound",
    ],
};

/// Texts of a snapshot: in a run and outside of one.
pub(super) const SNAPSHOT: Names = Names {
    place: "a snapshot",
    roots: &["node", "places", "state_directory", "version", "snapshot"],
};

/// What a snapshot must show.
pub(super) const SNAPSHOT_PROOF: Names = Names {
    place: "what a snapshot must show",
    roots: &["value", "version", "node", "places"],
};

/// Texts of probes that are observed before there is a plan, and of places.
pub(super) const FACT_PROBE: Names = Names {
    place: "what is observed before there is a plan",
    roots: &["node", "places", "state_directory"],
};

/// Which servers may run side by side.
pub(super) const SERVER_SKEW: Names = Names {
    place: "the rule for servers",
    roots: &["a", "b"],
};

/// What those who use the servers are told.
pub(super) const NOTICE: Names = Names {
    place: "a notice",
    roots: &["from", "to", "expected", "at_most", "windows"],
};

/// Which clients work with which servers.
pub(super) const CLIENT_SKEW: Names = Names {
    place: "the rule for clients",
    roots: &["client", "server"],
};

/// CEL's own functions; those of [`crate::expr::FUNCTIONS`] come on top.
pub(super) const BUILT_IN: [&str; 11] = [
    "size",
    "contains",
    "startsWith",
    "endsWith",
    "matches",
    "string",
    "int",
    "uint",
    "double",
    "max",
    "min",
];

/// What `host` holds: the fields of [`crate::facts::HostFacts`].
pub(super) const HOST_FIELDS: [&str; 13] = [
    "os",
    "arch",
    "state_directory",
    "disk_free",
    "disk_total",
    "memory_available",
    "clock_offset_ms",
    "systemd",
    "host_name",
    "releases",
    "cached",
    "agent",
    "restic",
];

static BINDING: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\.(?:all|exists|exists_one|filter|map)\(\s*(\w+)\s*,").ok());
static LITERAL: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r#""(?:[^"\\]|\\.)*"|'(?:[^'\\]|\\.)*'"#).ok());
static MEMBER: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"(?:^|[^\w.])(?:(\w+)\.)?(places|probes|host|target|variant)\.(\w+)").ok());
static ORDERLESS: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\b(values|befores)\.(?:filter|map)\(").ok());
static COMPARISON: LazyLock<Option<Regex>> =
    LazyLock::new(|| Regex::new(r"\b(?:at_least|older|same_minor)\(([^()]*)\)").ok());

/// The names that an expression binds itself: `n` in `nodes.all(n, n.version == to)`.
pub(super) fn bound(expression: &str) -> Vec<&str> {
    let found = BINDING.iter().flat_map(|regex| regex.captures_iter(expression));
    found
        .filter_map(|groups| groups.get(1))
        .map(|name| name.as_str())
        .collect()
}

/// The map of which an expression takes an element by its position, as `values` in `values.filter(n, …)[0]`: a map has no order, so it
/// would be another one each time, also when a run is resumed from its journal.
pub(super) fn taken_by_position(expression: &str) -> Option<String> {
    let text = without_literals(expression);
    let calls = ORDERLESS.iter().flat_map(|regex| regex.captures_iter(&text));
    calls
        .filter_map(|groups| Some((groups.get(0)?, groups.get(1)?)))
        .find(|(call, _)| after_call(&text[call.end()..]).trim_start().starts_with('['))
        .map(|(_, map)| map.as_str().to_owned())
}

/// What follows a call, given the text behind its opening parenthesis; nothing where it is never closed.
fn after_call(arguments: &str) -> &str {
    let mut depth = 1_u32;
    let closes = |c: char| {
        match c {
            '(' => depth += 1,
            ')' => depth -= 1,
            _ => {}
        }
        depth == 0
    };
    arguments.find(closes).map_or("", |end| &arguments[end + 1..])
}

/// The expression with `''` in the place of every text in it.
fn without_literals(expression: &str) -> Cow<'_, str> {
    LITERAL.as_ref().map_or(Cow::Borrowed(expression), |regex| {
        regex.replace_all(expression, "''")
    })
}

/// The members of well-known maps that an expression uses: `("places", "data")` for `places.data`.
pub(super) fn members(expression: &str) -> Vec<(String, String)> {
    let text = without_literals(expression);
    let bound = bound(&text);
    let found = MEMBER.iter().flat_map(|regex| regex.captures_iter(&text));
    found
        .filter(|groups| groups.get(1).is_none_or(|owner| bound.contains(&owner.as_str())))
        .map(|groups| (groups[2].to_owned(), groups[3].to_owned()))
        .collect()
}

/// The versions that an expression compares with: `3.5.0` for `older(to, '3.5.0')`.
pub(super) fn compared_versions(expression: &str) -> Vec<&str> {
    let calls = COMPARISON
        .iter()
        .flat_map(|regex| regex.captures_iter(expression));
    let arguments = calls
        .filter_map(|groups| groups.get(1))
        .map(|arguments| arguments.as_str());
    let literals =
        arguments.flat_map(|arguments| LITERAL.iter().flat_map(|regex| regex.find_iter(arguments)));
    literals
        .map(|literal| &literal.as_str()[1..literal.len() - 1])
        .collect()
}

#[cfg(test)]
mod tests {
    use super::{BUILT_IN, taken_by_position};
    use crate::expr::{Scope, value};
    use crate::version::Scheme;

    #[test]
    fn every_function_that_may_be_used_can_be_computed() {
        for (function, call) in [
            ("size", "size('a')"),
            ("contains", "'ab'.contains('a')"),
            ("startsWith", "'ab'.startsWith('a')"),
            ("endsWith", "'ab'.endsWith('b')"),
            ("matches", "'ab'.matches('a.')"),
            ("string", "string(1)"),
            ("int", "int('1')"),
            ("uint", "uint('1')"),
            ("double", "double('1.5')"),
            ("max", "max([1, 2])"),
            ("min", "min(['b', 'a'])"),
        ] {
            assert!(BUILT_IN.contains(&function), "{function}");
            assert!(value(call, &Scope::new(Scheme::Semver)).is_ok(), "{call}");
        }
        assert_eq!(BUILT_IN.len(), 11);
    }

    #[test]
    fn what_is_taken_of_a_map_by_position_is_found() {
        for (expression, map) in [
            ("befores.filter(n, n != node.name)[0] == 'n1'", Some("befores")),
            (
                "sum(values.map(n, (values[n].count + 1) * 2) [0])",
                Some("values"),
            ),
            ("min(befores.filter(n, n != node.name)) == 'n1'", None),
            ("values.filter(n, values[n].ok).size() > 1", None),
            ("value.value.filter(m, m.ok)[0].id == values['n1'].id", None),
            ("values.filter(n, (", None),
            ("values.filter(n, n != '(')[0] == 'n1'", Some("values")),
            ("value.text == 'values.filter(n, n)[0]'", None),
        ] {
            assert_eq!(taken_by_position(expression).as_deref(), map, "{expression}");
        }
    }
}
