//! Risks that operators take upon themselves, for the upgrades of a fleet's product to come.

use rusqlite::params;
use upshift_model::fleet::Acceptance;

use crate::error::StoreError;
use crate::{Store, now_ms};

/// A risk that was taken, with who took it and when.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Accepted {
    /// The risk and the reason.
    pub acceptance: Acceptance,
    /// Who took it.
    pub who: String,
    /// When, milliseconds since 1970.
    pub accepted_ms: u64,
}

impl Store {
    /// Writes down that a risk is taken; one of the same name is replaced.
    pub fn accept(
        &self,
        fleet: &str,
        product: &str,
        acceptance: &Acceptance,
        who: &str,
    ) -> Result<(), StoreError> {
        self.write(|transaction| {
            transaction.execute(
                "INSERT OR REPLACE INTO acceptances (fleet, product, name, reason, until, who, accepted_ms)
                 VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7)",
                params![
                    fleet,
                    product,
                    acceptance.name,
                    acceptance.reason,
                    acceptance.until,
                    who,
                    now_ms()
                ],
            )?;
            Ok(())
        })
    }

    /// Takes an acceptance back; whether there was one.
    pub fn withdraw(&self, fleet: &str, product: &str, name: &str) -> Result<bool, StoreError> {
        self.write(|transaction| {
            let gone = transaction.execute(
                "DELETE FROM acceptances WHERE fleet = ?1 AND product = ?2 AND name = ?3",
                params![fleet, product, name],
            )?;
            Ok(gone > 0)
        })
    }

    /// All risks that are taken for a fleet's product, in the order of their names; those whose day has passed are among them.
    pub fn acceptances(&self, fleet: &str, product: &str) -> Result<Vec<Accepted>, StoreError> {
        let connection = self.lock();
        let mut statement = connection.prepare(
            "SELECT name, reason, until, who, accepted_ms FROM acceptances
             WHERE fleet = ?1 AND product = ?2 ORDER BY name",
        )?;
        let rows = statement.query_map(params![fleet, product], |row| {
            Ok(Accepted {
                acceptance: Acceptance {
                    name: row.get(0)?,
                    reason: row.get(1)?,
                    until: row.get(2)?,
                },
                who: row.get(3)?,
                accepted_ms: row.get(4)?,
            })
        })?;
        Ok(rows.collect::<Result<_, _>>()?)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_risk_is_kept_for_its_fleet_and_product_until_it_is_withdrawn() {
        let directory = tempfile::tempdir().unwrap();
        let store = Store::open(&directory.path().join("runs.sqlite")).unwrap();
        let risk = |reason: &str| Acceptance {
            name: "capacity".to_owned(),
            reason: reason.to_owned(),
            until: None,
        };
        store.accept("a", "etcd", &risk("first"), "me").unwrap();
        store.accept("a", "etcd", &risk("second"), "me").unwrap();
        let kept = store.acceptances("a", "etcd").unwrap();
        assert_eq!(kept.len(), 1);
        assert_eq!(kept[0].acceptance, risk("second"));
        assert!(store.acceptances("a", "emqx").unwrap().is_empty());
        assert!(store.acceptances("b", "etcd").unwrap().is_empty());
        assert!(store.withdraw("a", "etcd", "capacity").unwrap());
        assert!(!store.withdraw("a", "etcd", "capacity").unwrap());
        assert!(store.acceptances("a", "etcd").unwrap().is_empty());
    }
}
