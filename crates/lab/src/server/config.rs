//! The lab server's configuration: lines of `key = value`.

use std::collections::BTreeMap;
use std::path::PathBuf;

/// A member's configuration.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Config {
    /// This member's name.
    pub name: String,
    /// Where its data lies.
    pub data: PathBuf,
    /// All members: name and `host:port`, this one included.
    pub members: BTreeMap<String, String>,
    /// How long the whole cluster must run a new minor version before the cluster version rises.
    pub rise_after_ms: u64,
    /// Every key of the file.
    pub keys: Vec<String>,
}

impl Config {
    /// Reads a configuration.
    ///
    /// # Errors
    /// A sentence with the line that cannot be understood, or the key that is missing.
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut values = BTreeMap::new();
        for line in text.lines().map(str::trim) {
            if line.is_empty() || line.starts_with('#') {
                continue;
            }
            let (key, value) = line
                .split_once('=')
                .ok_or_else(|| format!("`{line}` is not `key = value`"))?;
            values.insert(key.trim().to_owned(), value.trim().to_owned());
        }
        let get = |key: &str| {
            values
                .get(key)
                .cloned()
                .ok_or_else(|| format!("the key `{key}` is missing"))
        };
        let members = get("members")?
            .split(',')
            .map(|member| {
                let (name, address) = member
                    .trim()
                    .split_once('@')
                    .ok_or_else(|| format!("`{member}` is not `name@host:port`"))?;
                Ok((name.to_owned(), address.to_owned()))
            })
            .collect::<Result<BTreeMap<_, _>, String>>()?;
        let name = get("name")?;
        if !members.contains_key(&name) {
            return Err(format!("`{name}` is not among the members"));
        }
        let rise = values.get("rise_after_ms").map_or(Ok(1500), |text| text.parse());
        Ok(Config {
            name,
            data: PathBuf::from(get("data")?),
            members,
            rise_after_ms: rise.map_err(|_| "`rise_after_ms` is no number".to_owned())?,
            keys: values.into_keys().collect(),
        })
    }

    /// This member's `host:port`.
    pub fn address(&self) -> &str {
        &self.members[&self.name]
    }

    /// The configuration as a file.
    pub fn to_text(&self) -> String {
        let members: Vec<String> = self
            .members
            .iter()
            .map(|(name, address)| format!("{name}@{address}"))
            .collect();
        format!(
            "# Lab server\nname = {}\ndata = {}\nmembers = {}\nrise_after_ms = {}\nlegacy_cache = 64\n",
            self.name,
            self.data.display(),
            members.join(","),
            self.rise_after_ms
        )
    }
}

#[cfg(test)]
mod tests {
    use super::Config;

    #[test]
    fn configurations_are_read() {
        let text = "# x\nname = a\n data=/d \nmembers = a@127.0.0.1:1, b@127.0.0.1:2\n";
        let config = Config::parse(text).unwrap();
        assert_eq!((config.address(), config.rise_after_ms), ("127.0.0.1:1", 1500));
        assert_eq!(Config::parse(&config.to_text()).unwrap().members, config.members);
        assert_eq!(
            Config::parse("name = a\nmembers = a@x:1\n").unwrap_err(),
            "the key `data` is missing"
        );
        assert!(Config::parse("nonsense").unwrap_err().contains("nonsense"));
        assert!(
            Config::parse("name = c\ndata = /d\nmembers = a@x:1")
                .unwrap_err()
                .contains("among")
        );
    }
}
