//! Which ways lead between versions, what blocks them, and what must hold before one is taken.

use schemars::JsonSchema;
use serde::{Deserialize, Serialize};

use super::FactExpression;

/// How a hop is done.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize, JsonSchema)]
#[serde(rename_all = "snake_case")]
pub enum Strategy {
    /// In the running process; nothing restarts.
    Hot,
    /// One server or batch after the other.
    Rolling,
    /// All servers in one window.
    Switch,
    /// All servers in one window, into new data directories restored from a snapshot.
    Rebuild,
}

/// Where a claim comes from: a vendor's document, a bug report, an observation.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Source {
    /// What it is.
    pub title: String,
    /// Where it can be read, if it can.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub link: Option<String>,
}

/// A legal way from some versions to others.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct PathEdge {
    /// Range of versions that the way leads out of; see [`crate::version::Range`].
    pub from: String,
    /// Range of versions that it leads to.
    pub to: String,
    /// How the hop is done.
    pub strategy: Strategy,
    /// Conditions over each server's facts, all of which must hold on every server; where one does not, this way does not
    /// lead anywhere, and another may. Names: `node`, `places`, `variant`, `target`, `probes`, `host`, `version`, `from`, `to`.
    #[serde(default)]
    pub when: Vec<Condition>,
    /// Where the claim comes from.
    pub source: Source,
    /// What an operator should know about this way. (That the target is newer than the source need not be said: it is
    /// always demanded.)
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
}

/// A condition with the sentence that an operator reads where it does not hold.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Condition {
    /// Expression; see [`crate::expr`].
    pub expect: String,
    /// What an operator reads where it does not hold; a template.
    pub message: String,
    /// Name under which an operator may take it upon themselves (`upshift accept`) that it does not hold; nobody may where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub risk: Option<String>,
}

/// A version that must not be reached, or a way that must not be taken.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct BlockedEdge {
    /// Name of the trouble, such as `etcd-data-inconsistency`.
    pub name: String,
    /// Versions that the way leads out of; all where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Versions that the way leads to; all where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Only for hops of these strategies; all where empty.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub strategies: Vec<Strategy>,
    /// Conditions over each server's facts, with the names of [`PathEdge::when`]; the way is blocked only where all hold on
    /// some server.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub when: Vec<String>,
    /// What goes wrong.
    pub reason: String,
    /// Where the claim comes from.
    pub source: Source,
    /// The version that has it mended; absent where none has.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub fixed_in: Option<String>,
    /// Whether an operator may take the trouble upon themselves (`upshift accept`).
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub acceptable: bool,
}

/// Which release of each line is the newest, as far as the profile knows: a target that is an older one is told so.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Newest {
    /// The vendor's rule, in a sentence that an operator reads beside it.
    pub rule: String,
    /// The newest known release of each line. Of a line that is not here none is known, and that is said, too.
    #[serde(default)]
    pub lines: Vec<NewestOfLine>,
    /// Where the rule and the releases come from.
    pub source: Source,
}

/// The newest known release of one line.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct NewestOfLine {
    /// Range of versions that make up the line.
    pub line: String,
    /// Its newest release that is known.
    pub version: String,
}

/// Which versions may run side by side.
#[derive(Clone, Debug, Default, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Skew {
    /// Expression over `a` and `b` (two versions): may servers of these run in one cluster?
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub servers: Option<String>,
    /// Rule for clients.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub clients: Option<ClientLag>,
}

/// How far clients may lag behind servers.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct ClientLag {
    /// Expression over `client` and `server` (versions): does this client work with this server?
    pub expect: String,
    /// How the connected clients are read: an expression over the value of a probe that yields a list of versions, or of maps with `name` and
    /// `version`, evaluated on one reachable server. Where absent, only clients that stand in the fleet are known.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub observed: Option<FactExpression>,
    /// What to do about clients for which it does not hold.
    pub remedy: String,
    /// Where the rule comes from.
    pub source: Source,
}

/// A condition that must hold before anything is changed.
#[derive(Clone, Debug, PartialEq, Serialize, Deserialize, JsonSchema)]
#[serde(deny_unknown_fields)]
pub struct Check {
    /// Name, for reports and `upshift accept`.
    pub name: String,
    /// Expression over one server's facts, with the names of [`PathEdge::when`]; or, where `cluster` is set, over `nodes` (a
    /// list with one map per server, holding those names and `name`), `from` and `to`.
    pub expect: String,
    /// What an operator reads where it does not hold; a template over the same names.
    pub message: String,
    /// What to do about it.
    pub remedy: String,
    /// Hops that it applies to, by the version that the hop leads to; all where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub to: Option<String>,
    /// Hops that it applies to, by the version that the hop leads out of; all where absent.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub from: Option<String>,
    /// Only for hops of these strategies; all where empty.
    #[serde(default)]
    pub strategies: Vec<Strategy>,
    /// Whether the expression is about the whole cluster.
    #[serde(default)]
    pub cluster: bool,
    /// Whether the plan only says it, and is made all the same.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub advice: bool,
    /// Names of checks above this one without which it says nothing: where one of them does not hold, or cannot be told, this one
    /// cannot be told either, and is only counted with it.
    #[serde(default, skip_serializing_if = "Vec::is_empty")]
    pub needs: Vec<String>,
    /// Whether an operator may take it upon themselves (`upshift accept`) that it does not hold, or cannot be told.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub acceptable: bool,
    /// Whether it holds once services are started from the release store, which is what `upshift adopt --services` is for: it does not
    /// stand in the way of that.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub moved_services: bool,
    /// Whether it must hold for the whole run: the other servers are asked again at each gate, before a window opens and right before
    /// it disturbs anything. The expression then uses one probe, and of the other names `node`, `places`, `from` and `to`.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub throughout: bool,
    /// Where the rule comes from.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub source: Option<Source>,
}

impl Check {
    /// The one probe that the expression uses, and the expression over that probe's value; none where it uses several, or facts that
    /// only a plan has.
    pub fn probe_alone(&self) -> Option<(String, String)> {
        let known = ["probes", "node", "places", "from", "to"];
        let expression = crate::expr::Expression::parse(&self.expect).ok()?;
        let facts = ["name", "variant", "target", "host", "version", "leader", "nodes"];
        let references = expression.references();
        if references
            .iter()
            .any(|name| facts.contains(&name.as_str()) && !known.contains(&name.as_str()))
        {
            return None;
        }
        let found: std::collections::BTreeSet<&str> = PROBE
            .find_iter(&self.expect)
            .map(|probe| probe.as_str())
            .collect();
        match Vec::from_iter(found)[..] {
            [probe] => {
                let name = probe.trim_start_matches("probes.").to_owned();
                Some((name, PROBE.replace_all(&self.expect, "value").into_owned()))
            }
            _ => None,
        }
    }
}

/// A probe as an expression over facts names it.
static PROBE: std::sync::LazyLock<regex::Regex> = std::sync::LazyLock::new(|| {
    #[allow(clippy::unwrap_used, reason = "a pattern that is written here")]
    regex::Regex::new(r"\bprobes\.[A-Za-z_][A-Za-z0-9_]*").unwrap()
});

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_check_that_is_asked_again_is_about_one_probe() {
        let check = |expect: &str| {
            let text = serde_json::json!({"name": "n", "expect": expect, "message": "m", "remedy": "r"});
            serde_json::from_value::<Check>(text).unwrap().probe_alone()
        };
        assert_eq!(
            check("size(probes.members.value) == 3 && probes.members.exit == 0"),
            Some((
                "members".to_owned(),
                "size(value.value) == 3 && value.exit == 0".to_owned()
            ))
        );
        assert_eq!(
            check("probes.members.exit == 0 && probes.health.status == 200"),
            None
        );
        assert_eq!(check("probes.members.exit == 0 && older(version, '3.0.0')"), None);
        assert_eq!(check("places.data != ''"), None, "there is nothing to ask");
    }
}
