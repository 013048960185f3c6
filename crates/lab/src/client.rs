//! Clients of the clusters: writing and reading keys over HTTP, with the next member tried where one does not answer.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Value, json};

use crate::cluster::Product;
use crate::{http, nats};

/// A client of one cluster. Keys are plain words.
#[derive(Clone, Debug)]
pub struct Client {
    product: Product,
    endpoints: Vec<String>,
    /// The member that answered last.
    current: usize,
    limit: Duration,
}

/// Why a request was not answered as it should be by any member.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("no member took the request: {0}")]
pub struct ClientError(pub String);

impl Client {
    /// A client that knows these members, as `host:port`.
    pub fn new(product: Product, endpoints: Vec<String>) -> Self {
        Client {
            product,
            endpoints,
            current: 0,
            limit: Duration::from_secs(2),
        }
    }

    /// Writes a key. Success means that the cluster has acknowledged it.
    ///
    /// # Errors
    /// Where no member acknowledged it; it may have been kept all the same.
    pub fn put(&mut self, key: &str, value: &str) -> Result<(), ClientError> {
        match self.product {
            Product::Etcd => {
                let body = json!({ "key": base64(key.as_bytes()), "value": base64(value.as_bytes()) });
                self.gateway("kv/put", &body).map(|_| ())
            }
            Product::Nats => self
                .nats(|connection| connection.request(&subject(key), value.as_bytes()))
                .map(|_| ()),
            Product::Lab => self
                .lab(|address, limit| {
                    http::post(address, "/put", &json!({ "key": key, "value": value }), limit)
                })
                .map(|_| ()),
        }
    }

    /// Reads a key as of now (linearizable); nothing where it does not exist.
    ///
    /// # Errors
    /// Where no member answered.
    pub fn get(&mut self, key: &str) -> Result<Option<String>, ClientError> {
        match self.product {
            Product::Etcd => {
                let answer = self.gateway("kv/range", &json!({ "key": base64(key.as_bytes()) }))?;
                Ok(answer["kvs"][0]["value"].as_str().and_then(from_base64))
            }
            Product::Nats => {
                let found =
                    self.nats(|connection| connection.message(&json!({ "last_by_subj": subject(key) })))?;
                Ok(found.and_then(|(_, data)| from_base64(&data)))
            }
            Product::Lab => {
                let answer =
                    self.lab(|address, limit| http::get(address, &format!("/get?key={key}"), limit))?;
                Ok(answer["value"].as_str().map(str::to_owned))
            }
        }
    }

    /// Reads all keys that begin with a prefix.
    ///
    /// # Errors
    /// Where no member answered.
    pub fn all(&mut self, prefix: &str) -> Result<BTreeMap<String, String>, ClientError> {
        match self.product {
            Product::Etcd => self.all_of_etcd(prefix),
            Product::Nats => {
                let prefix = subject(prefix);
                let found = self.nats(|connection| {
                    let (first, last) = connection.range()?;
                    (first.max(1)..=last)
                        .map(|number| connection.message(&json!({ "seq": number })))
                        .collect::<std::io::Result<Vec<_>>>()
                })?;
                Ok(found
                    .into_iter()
                    .flatten()
                    .filter(|(subject, _)| subject.starts_with(&prefix))
                    .filter_map(|(subject, data)| Some((key_of(&subject), from_base64(&data)?)))
                    .collect())
            }
            Product::Lab => {
                // A read through the leader first, so that the member that is asked next is the leader.
                self.get("nothing")?;
                let address = self.endpoints[self.current].clone();
                let answer = http::get(&address, "/dump", Duration::from_secs(10))
                    .map_err(|error| ClientError(error.to_string()))?
                    .json();
                let values = answer["values"].as_object().cloned().unwrap_or_default();
                Ok(values
                    .into_iter()
                    .filter(|(key, _)| key.starts_with(prefix))
                    .filter_map(|(key, value)| Some((key, value.as_str()?.to_owned())))
                    .collect())
            }
        }
    }

    fn all_of_etcd(&mut self, prefix: &str) -> Result<BTreeMap<String, String>, ClientError> {
        const PAGE: usize = 2000;
        let mut found = BTreeMap::new();
        let mut from = prefix.as_bytes().to_vec();
        let mut end = prefix.as_bytes().to_vec();
        if let Some(last) = end.last_mut() {
            *last += 1;
        }
        loop {
            let body = json!({ "key": base64(&from), "range_end": base64(&end), "limit": PAGE.to_string() });
            let answer = self.gateway("kv/range", &body)?;
            let pairs = answer["kvs"].as_array().cloned().unwrap_or_default();
            for pair in &pairs {
                let text = |name: &str| pair[name].as_str().and_then(from_base64);
                if let (Some(key), Some(value)) = (text("key"), text("value")) {
                    from = key.as_bytes().to_vec();
                    found.insert(key, value);
                }
            }
            if pairs.len() < PAGE {
                return Ok(found);
            }
            from.push(0);
        }
    }

    /// Asks etcd's JSON gateway. Its path differs: `v3beta` in 3.3, both in 3.4 and 3.5, `v3` alone afterwards.
    fn gateway(&mut self, call: &str, body: &Value) -> Result<Value, ClientError> {
        self.each(|address, limit| {
            let mut answer = http::post(address, &format!("/v3/{call}"), body, limit)?;
            if answer.status == 404 {
                answer = http::post(address, &format!("/v3beta/{call}"), body, limit)?;
            }
            Ok(answer)
        })
    }

    fn lab(
        &mut self,
        ask: impl Fn(&str, Duration) -> std::io::Result<http::Answer>,
    ) -> Result<Value, ClientError> {
        self.each(|address, limit| ask(address, limit))
    }

    /// Asks one server of NATS after the other, each once, over a connection of its own.
    fn nats<T>(
        &mut self,
        ask: impl Fn(&mut nats::Connection) -> std::io::Result<T>,
    ) -> Result<T, ClientError> {
        let mut reasons = Vec::new();
        for turn in 0..self.endpoints.len() {
            let index = (self.current + turn) % self.endpoints.len();
            let address = &self.endpoints[index];
            match nats::Connection::open(address, self.limit).and_then(|mut connection| ask(&mut connection))
            {
                Ok(answer) => {
                    self.current = index;
                    return Ok(answer);
                }
                Err(error) => reasons.push(format!("{address}: {error}")),
            }
        }
        Err(ClientError(reasons.join("; ")))
    }

    /// Asks one member after the other, each once, beginning with the one that answered last.
    fn each(
        &mut self,
        ask: impl Fn(&str, Duration) -> std::io::Result<http::Answer>,
    ) -> Result<Value, ClientError> {
        let mut reasons = Vec::new();
        for turn in 0..self.endpoints.len() {
            let index = (self.current + turn) % self.endpoints.len();
            let address = &self.endpoints[index];
            match ask(address, self.limit) {
                Ok(answer) if answer.status == 200 => {
                    self.current = index;
                    return Ok(answer.json());
                }
                Ok(answer) => reasons.push(format!(
                    "{address} answers {}: {}",
                    answer.status,
                    String::from_utf8_lossy(&answer.body).trim()
                )),
                Err(error) => reasons.push(format!("{address}: {error}")),
            }
        }
        Err(ClientError(reasons.join("; ")))
    }
}

/// The subject of a key: `load/7` is published under `load.load.7`.
fn subject(key: &str) -> String {
    format!("{}.{}", nats::STREAM, key.replace('/', "."))
}

fn key_of(subject: &str) -> String {
    let key = subject.strip_prefix(nats::STREAM).unwrap_or(subject);
    key.trim_start_matches('.').replace('.', "/")
}

const ALPHABET: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

/// Base64, as etcd's gateway has keys and values.
fn base64(bytes: &[u8]) -> String {
    let mut text = String::new();
    for chunk in bytes.chunks(3) {
        let word = (0..3).fold(0_u32, |word, at| {
            word << 8 | u32::from(chunk.get(at).copied().unwrap_or(0))
        });
        for at in 0..4 {
            if at <= chunk.len() {
                text.push(char::from(ALPHABET[(word >> (18 - 6 * at) & 63) as usize]));
            } else {
                text.push('=');
            }
        }
    }
    text
}

fn from_base64(text: &str) -> Option<String> {
    let mut bytes = Vec::new();
    for chunk in text.as_bytes().chunks(4) {
        let mut word = 0_u32;
        let mut count = 0;
        for character in chunk.iter().filter(|character| **character != b'=') {
            word = word << 6 | u32::try_from(ALPHABET.iter().position(|known| known == character)?).ok()?;
            count += 1;
        }
        word <<= 6 * (4 - count);
        let whole = word.to_be_bytes();
        bytes.extend_from_slice(whole.get(1..count as usize)?);
    }
    String::from_utf8(bytes).ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn base64_there_and_back() {
        for (plain, coded) in [
            ("", ""),
            ("f", "Zg=="),
            ("fo", "Zm8="),
            ("foo", "Zm9v"),
            ("foob", "Zm9vYg=="),
        ] {
            assert_eq!(base64(plain.as_bytes()), coded);
            assert_eq!(from_base64(coded).unwrap(), plain);
        }
        assert_eq!(from_base64("!!!!"), None);
    }

    #[test]
    fn every_member_is_named_where_none_answers() {
        let ports = crate::ports::free(2).unwrap();
        let endpoints = ports.iter().map(|port| format!("127.0.0.1:{port}")).collect();
        let error = Client::new(Product::Lab, endpoints)
            .put("a", "b")
            .unwrap_err()
            .to_string();
        assert!(
            ports.iter().all(|port| error.contains(&port.to_string())),
            "{error}"
        );
    }
}
