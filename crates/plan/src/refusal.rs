//! Collecting the reasons why there is no plan.

use std::collections::BTreeMap;

use crate::types::Refusal;

/// All reasons found so far. Reasons that differ only in their hosts become one.
#[derive(Debug, Default)]
pub(crate) struct Refusals {
    found: BTreeMap<Reason, Vec<String>>,
}

/// A reason without its hosts.
#[derive(Clone, Debug, PartialEq, Eq, PartialOrd, Ord)]
struct Reason {
    code: String,
    message: String,
    remedy: String,
    link: Option<String>,
}

impl Refusals {
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

    /// Notes a reason, all of it given.
    pub fn note(
        &mut self,
        code: &str,
        host: Option<&str>,
        message: String,
        remedy: String,
        link: Option<String>,
    ) {
        let reason = Reason {
            code: code.to_owned(),
            message,
            remedy,
            link,
        };
        self.found
            .entry(reason)
            .or_default()
            .extend(host.map(str::to_owned));
    }

    /// Whether none was found.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// All of them, sorted.
    pub fn into_sorted(self) -> Vec<Refusal> {
        let mut all: Vec<Refusal> = self
            .found
            .into_iter()
            .map(|(reason, mut hosts)| {
                hosts.sort();
                hosts.dedup();
                let Reason {
                    code,
                    message,
                    remedy,
                    link,
                } = reason;
                Refusal {
                    code,
                    hosts,
                    message,
                    remedy,
                    link,
                }
            })
            .collect();
        all.sort();
        all
    }
}
