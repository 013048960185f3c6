//! Collecting the reasons why there is no plan, and the risks that operators take upon themselves.

use std::collections::{BTreeMap, BTreeSet};

use upshift_model::fleet::Acceptance;

use crate::types::{Finding, Refusal, Request, Risk};

/// All reasons found so far. Reasons that differ only in their hosts become one.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    found: BTreeMap<Reason, About>,
    accepted: Vec<Acceptance>,
    taken: BTreeMap<(Acceptance, String), BTreeSet<String>>,
}

/// A reason without its hosts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Reason {
    code: String,
    message: String,
    remedy: String,
    link: Option<String>,
    finding: Finding,
}

/// Whom a reason is about, and what cannot be told because of it.
#[derive(Debug, Default)]
struct About {
    hosts: BTreeSet<String>,
    hides: BTreeSet<String>,
}

impl Refusals {
    /// Nothing found yet; what the operator has accepted is no reason.
    pub fn of(request: &Request) -> Self {
        Refusals {
            accepted: request.accepted.clone(),
            ..Refusals::default()
        }
    }

    /// Notes a reason that is about the whole cluster or the request.
    pub fn add(&mut self, code: &str, message: impl Into<String>, remedy: impl Into<String>) {
        self.note(code, None, message.into(), remedy.into(), None);
    }

    /// Notes a reason with a link to where its rule comes from.
    pub fn add_linked(
        &mut self,
        code: &str,
        message: impl Into<String>,
        remedy: impl Into<String>,
        link: Option<String>,
    ) {
        self.note(code, None, message.into(), remedy.into(), link);
    }

    /// Notes a reason that is about one host.
    pub fn add_host(
        &mut self,
        code: &str,
        host: &str,
        message: impl Into<String>,
        remedy: impl Into<String>,
    ) {
        self.note(code, Some(host), message.into(), remedy.into(), None);
    }

    /// Notes that something does not hold, all of it given. What is returned stands for it in [`Refusals::hide`].
    pub fn note(
        &mut self,
        code: &str,
        host: Option<&str>,
        message: String,
        remedy: String,
        link: Option<String>,
    ) -> Reason {
        self.insert(
            host,
            Reason {
                code: code.to_owned(),
                message,
                remedy,
                link,
                finding: Finding::DoesNotHold,
            },
        )
    }

    /// Notes that something cannot be told.
    pub fn note_unknown(
        &mut self,
        code: &str,
        host: Option<&str>,
        message: String,
        remedy: String,
        link: Option<String>,
    ) -> Reason {
        self.insert(
            host,
            Reason {
                code: code.to_owned(),
                message,
                remedy,
                link,
                finding: Finding::CannotTell,
            },
        )
    }

    fn insert(&mut self, host: Option<&str>, reason: Reason) -> Reason {
        let about = self.found.entry(reason.clone()).or_default();
        about.hosts.extend(host.map(str::to_owned));
        reason
    }

    /// Counts a check with the reason because of which it cannot be told.
    pub fn hide(&mut self, reason: &Reason, check: &str) {
        if let Some(about) = self.found.get_mut(reason) {
            about.hides.insert(check.to_owned());
        }
    }

    /// The reasons of one kind that have been noted so far.
    pub fn with_codes(&self, codes: &[&str]) -> Vec<Reason> {
        let reasons = self.found.keys();
        reasons
            .filter(|reason| codes.contains(&reason.code.as_str()))
            .cloned()
            .collect()
    }

    /// Whether the operator takes a risk upon themselves. Then what was found is kept with the plan.
    pub fn accepts(&mut self, name: &str, host: Option<&str>, found: &str) -> bool {
        let Some(acceptance) = self.accepted.iter().find(|accepted| accepted.name == name) else {
            return false;
        };
        self.taken
            .entry((acceptance.clone(), found.to_owned()))
            .or_default()
            .extend(host.map(str::to_owned));
        true
    }

    /// The risks that were taken, in the order of their names.
    pub fn risks(&self) -> Vec<Risk> {
        let taken = self.taken.iter();
        taken
            .map(|((acceptance, found), hosts)| Risk {
                acceptance: acceptance.clone(),
                hosts: hosts.iter().cloned().collect(),
                found: found.clone(),
            })
            .collect()
    }

    /// Whether none was found.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// All of them: those first because of which others cannot be told, then in the order of their codes.
    pub fn into_sorted(self) -> Vec<Refusal> {
        let mut all: Vec<Refusal> = self
            .found
            .into_iter()
            .map(|(reason, about)| Refusal {
                code: reason.code,
                hosts: about.hosts.into_iter().collect(),
                message: reason.message,
                remedy: reason.remedy,
                link: reason.link,
                finding: reason.finding,
                hides: about.hides.into_iter().collect(),
            })
            .collect();
        all.sort_by(|a, b| (a.hides.is_empty(), a).cmp(&(b.hides.is_empty(), b)));
        all
    }
}

/// How an operator takes a risk upon themselves, to be pasted and run.
pub(crate) fn how_to_accept(name: &str) -> String {
    format!("to take it upon yourself: `upshift accept {name} --reason \"…\"`")
}
