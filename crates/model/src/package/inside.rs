//! Named parts of a release that only a file inside its package tells.

use regex::Regex;
use serde_json::{Map, Value};

use super::PackageName;
use crate::profile::InsidePart;
use crate::template::{self, TemplateError};

impl InsidePart {
    /// The file's path inside the package of which this is the name.
    ///
    /// # Errors
    /// Where the path is not a template over the parts of the name.
    pub fn path(&self, package: &PackageName) -> Result<String, TemplateError> {
        let parts = package
            .parts
            .iter()
            .map(|(name, value)| (name.clone(), Value::from(value.as_str())));
        let mut names: Map<String, Value> = parts.collect();
        names.insert("version".to_owned(), package.version.as_str().into());
        template::render_text(&self.file, &Value::Object(names))
    }

    /// What the file's text tells; nothing where the pattern matches nowhere.
    ///
    /// # Errors
    /// Where the pattern is not a regular expression.
    pub fn value(&self, text: &str) -> Result<Option<String>, regex::Error> {
        let pattern = Regex::new(&self.pattern)?;
        let mut found: Vec<&str> = Vec::new();
        for group in pattern.captures_iter(text).filter_map(|groups| groups.get(1)) {
            if !found.contains(&group.as_str()) {
                found.push(group.as_str());
            }
        }
        Ok((!found.is_empty()).then(|| found.join(",")))
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use super::*;
    use crate::version::{Scheme, Version};

    fn relup() -> InsidePart {
        InsidePart {
            file: "emqx/releases/{{ version }}/relup".to_owned(),
            pattern: r#"\{"(\d[^"]*)","#.to_owned(),
        }
    }

    #[test]
    fn the_path_follows_the_name() {
        let version = Version::parse(Scheme::Vendor, "4.4.16").unwrap();
        let package = PackageName {
            version,
            parts: BTreeMap::from([("os".to_owned(), "el8".to_owned())]),
        };
        assert_eq!(relup().path(&package).unwrap(), "emqx/releases/4.4.16/relup");
        let other = InsidePart {
            file: "{{ otp }}/relup".to_owned(),
            ..relup()
        };
        assert!(other.path(&package).is_err());
    }

    #[test]
    fn each_match_is_told_once_and_in_order() {
        let text = r#"{"4.4.16",
 [{"4.4.15",[],[{load_object_code,{emqx,"4.4.15",[emqx]}},point_of_no_return]},
  {"4.4.9",[],[restart_new_emulator]}],
 [{"4.4.15",[],[point_of_no_return]}]}."#;
        assert_eq!(
            relup().value(text).unwrap().as_deref(),
            Some("4.4.16,4.4.15,4.4.9")
        );
        assert_eq!(relup().value("[]").unwrap(), None);
    }
}
