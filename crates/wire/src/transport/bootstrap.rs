//! From a shell on a host to a running agent, over nothing but the shell's standard input and output.
//!
//! The script is constant but for four values: a number, two digests, and the state directory, which is written as
//! octal escapes so that no character of it can mean anything to the shell. Everything waits for an answer before more
//! is sent, because a shell may read its input ahead, in blocks.
//!
//! What is run there may become root. So it must be what was sent, byte for byte, at every start, and lie where nobody but its
//! owner or root can put another file: in directories that others cannot write to, up to the root. (Others cannot replace what is not
//! theirs in a parent with the sticky bit, such as `/tmp`.)

use std::fmt::Write as _;
use std::time::Duration;

use tokio::io::{AsyncBufRead, AsyncBufReadExt, AsyncReadExt, AsyncWrite, AsyncWriteExt};

use crate::binary::{AgentBinary, BinaryError, Identity};
use crate::transport::error::ConnectFailure;

/// How long a login and the shell's first answer may take.
pub(crate) const LOGIN_LIMIT: Duration = Duration::from_secs(30);
/// How long an upload may go without any progress.
const STALL_LIMIT: Duration = Duration::from_secs(30);
/// How much of the program is written at a time.
const PIECE: usize = 256 * 1024;
/// The most that a host may say before the shell answers: message of the day, banners of login scripts.
const NOISE_LIMIT: u64 = 1024 * 1024;

const SUDO_SCRIPT: &str = r#"upshift() {
  printf 'UPSHIFT-%s elevated\n' '@NONCE@'
  if [ "$(id -u)" -eq 0 ]; then exec sh; fi
  exec sudo -n -- sh
}
upshift
"#;

const SCRIPT: &str = r#"upshift() {
  umask 077
  say() { printf 'UPSHIFT-%s %s\n' '@NONCE@' "$*"; }
  state=$(printf '%b' '@STATE@')
  directory=$state/agent/@SHA256@
  program=$directory/upshift-node
  partial=$directory/partial.$$
  fail() {
    rm -f "$partial"
    say failed "$@"
    exit 1
  }
  own=$(id -u)
  others() {
    kind=$1
    shift
    ls -ldnL "$@" 2>&1 | while read -r mode links owner rest; do
      name=/${rest#*/}
      case $kind$mode in
        parent[!d]* | own[!d-]*) printf '%s\n' "$mode $links $owner $rest" ;;
        parentd????????[tT]*) ;;
        parent?????w* | own?????w* | parent????????w* | own????????w*)
          printf '%s\n' "others may write to $name ($mode)" ;;
      esac
      [ "$owner" = 0 ] || [ "$owner" = "$own" ] || [ "$owner" = "${SUDO_UID:-0}" ] || printf '%s\n' "$name belongs to user $owner"
    done
  }
  above() {
    parent=$1
    set --
    while [ -n "$parent" ]; do
      case $parent in */*) parent=${parent%/*} ;; *) parent=. ;; esac
      set -- "$@" "${parent:-/}"
      [ "$parent" != . ] || break
    done
    others parent "$@"
  }
  same() {
    [ "$(wc -c <"$1")" -eq @SIZE@ ] || return 1
    command -v sha256sum >/dev/null 2>&1 || return 0
    digest=$(sha256sum <"$1")
    [ "${digest%% *}" = '@SHA256@' ]
  }
  reason=$(mkdir -p "$directory" 2>&1) || fail directory "$reason"
  real=$(cd "$state" && pwd -P) || fail directory "$state"
  bad=$(
    others own "$state" "$state/agent" "$directory"
    above "$state"
    [ "$real" = "$state" ] || above "$real"
  )
  [ -z "$bad" ] || fail unsafe "${bad%%
*}"
  if [ -f "$program" ] && [ ! -L "$program" ] && [ -x "$program" ] && [ -z "$(others own "$program")" ] && same "$program"; then
    say ready
    exec "$program" @ARGUMENTS@ serve --state "$state"
  fi
  reason=$( (: >"$partial") 2>&1) || fail directory "$reason"
  if command -v gzip >/dev/null 2>&1; then
    say missing packed
    read -r packed
    reason=$( { head -c "$packed" | gzip -dc; } 2>&1 >"$partial") || fail write "$reason"
  else
    say missing plain
    reason=$(head -c @SIZE@ 2>&1 >"$partial") || fail write "$reason"
  fi
  size=$(wc -c <"$partial")
  [ "$size" -eq @SIZE@ ] || fail size "$size"
  if command -v sha256sum >/dev/null 2>&1; then
    digest=$(sha256sum <"$partial")
    [ "${digest%% *}" = '@SHA256@' ] || fail digest "${digest%% *}"
  fi
  reason=$(chmod 700 "$partial" 2>&1) || fail directory "$reason"
  sync "$partial" 2>/dev/null || :
  reason=$(mv -f "$partial" "$program" 2>&1) || fail directory "$reason"
  say ready
  exec "$program" @ARGUMENTS@ serve --state "$state"
}
upshift
"#;

/// What is to be started, and how.
pub(crate) struct Bootstrap<'a> {
    /// The agent's state directory on the host.
    pub state_directory: &'a str,
    /// Whether to become root with sudo first.
    pub sudo: bool,
    /// The agent's program.
    pub binary: &'a AgentBinary,
    /// Its digest and size.
    pub identity: &'a Identity,
    /// A word that nobody else prints.
    pub nonce: &'a str,
    /// How long the shell may take to answer first: [`LOGIN_LIMIT`], or less where no login is needed.
    pub limit: Duration,
}

/// What the shell said after the marker.
#[derive(Debug, PartialEq, Eq)]
enum Word {
    Elevated,
    Ready,
    /// The program is to be sent, packed by gzip or as it is.
    Missing {
        packed: bool,
    },
    Failed {
        kind: String,
        reason: String,
    },
}

impl Bootstrap<'_> {
    /// Talks to a shell until the agent has taken its place. Nothing is left to be read when it returns.
    ///
    /// `None` as the failure means that the shell ended without a word: standard error says more.
    pub(crate) async fn run<R, W>(&self, reader: &mut R, writer: &mut W) -> Result<(), Option<ConnectFailure>>
    where
        R: AsyncBufRead + Unpin,
        W: AsyncWrite + Unpin,
    {
        if self.sudo {
            send(writer, &SUDO_SCRIPT.replace("@NONCE@", self.nonce)).await;
            self.expect(reader, &Word::Elevated).await?;
        }
        send(writer, &self.script()).await;
        let packed = match in_time(self.limit, self.word(reader)).await? {
            Word::Ready => return Ok(()),
            Word::Missing { packed } => packed,
            other => return Err(Some(self.unexpected(other))),
        };
        // The host may give up in the middle, when its disk is full, say; then it says why, and sending fails or stalls.
        let mut word = std::pin::pin!(self.word(reader));
        let early = tokio::select! {
            biased;
            word = &mut word => Some(word),
            sent = upload(self.binary, packed, writer) => { sent?; None }
        };
        let word = match early {
            Some(word) => word?,
            None => in_time(LOGIN_LIMIT, word).await?,
        };
        if word == Word::Ready {
            Ok(())
        } else {
            Err(Some(self.unexpected(word)))
        }
    }

    fn script(&self) -> String {
        SCRIPT
            .replace("@NONCE@", self.nonce)
            .replace("@STATE@", &octal(self.state_directory))
            .replace("@SHA256@", &self.identity.sha256)
            .replace("@SIZE@", &self.identity.size.to_string())
            .replace("@ARGUMENTS@", &self.binary.arguments().join(" "))
    }

    async fn expect<R: AsyncBufRead + Unpin>(
        &self,
        reader: &mut R,
        word: &Word,
    ) -> Result<(), Option<ConnectFailure>> {
        match in_time(self.limit, self.word(reader)).await? {
            said if said == *word => Ok(()),
            other => Err(Some(self.unexpected(other))),
        }
    }

    /// The next word after a marker; everything before it is noise of login scripts.
    async fn word<R: AsyncBufRead + Unpin>(&self, reader: &mut R) -> Result<Word, Option<ConnectFailure>> {
        let marker = format!("UPSHIFT-{} ", self.nonce);
        let mut heard = 0;
        let mut line = Vec::new();
        loop {
            line.clear();
            let mut bounded = (&mut *reader).take(NOISE_LIMIT - heard);
            let read = bounded.read_until(b'\n', &mut line).await.map_err(|_| None)?;
            heard += read as u64;
            if read == 0 || heard >= NOISE_LIMIT {
                return Err(None);
            }
            let text = String::from_utf8_lossy(&line);
            if let Some((_, said)) = text.split_once(&marker)
                && let Some(word) = parse(said.trim_end())
            {
                return Ok(word);
            }
        }
    }

    fn unexpected(&self, word: Word) -> ConnectFailure {
        let directory = self.state_directory.to_owned();
        match word {
            Word::Failed { reason, .. } if reason.contains("No space left") || reason.contains("quota") => {
                ConnectFailure::DiskFull { directory, reason }
            }
            Word::Failed { reason, .. } if reason.contains("gzip: stdin") => {
                ConnectFailure::Corrupted(reason)
            }
            Word::Failed { kind, reason } => match kind.as_str() {
                "size" => ConnectFailure::Corrupted(format!("{reason} of {} bytes", self.identity.size)),
                "unsafe" => ConnectFailure::Unsafe { directory, reason },
                "digest" => ConnectFailure::Corrupted(format!("its digest there is {reason}")),
                _ => ConnectFailure::StateDirectory { directory, reason },
            },
            other => ConnectFailure::Ended(format!("the shell answered out of turn ({other:?})")),
        }
    }
}

async fn in_time(
    limit: Duration,
    word: impl Future<Output = Result<Word, Option<ConnectFailure>>>,
) -> Result<Word, Option<ConnectFailure>> {
    let late = || {
        Some(ConnectFailure::NoAnswer {
            seconds: limit.as_secs(),
            said: String::new(),
        })
    };
    tokio::time::timeout(limit, word).await.map_err(|_| late())?
}

fn parse(said: &str) -> Option<Word> {
    let (word, rest) = said.split_once(' ').unwrap_or((said, ""));
    match word {
        "elevated" => Some(Word::Elevated),
        "ready" => Some(Word::Ready),
        "missing" => Some(Word::Missing {
            packed: rest == "packed",
        }),
        "failed" => {
            let (kind, reason) = rest.split_once(' ').unwrap_or((rest, ""));
            Some(Word::Failed {
                kind: kind.to_owned(),
                reason: reason.to_owned(),
            })
        }
        _ => None,
    }
}

/// Sends text to the shell. A failure is not looked at: the shell is gone then, and its output and errors say why.
async fn send<W: AsyncWrite + Unpin>(writer: &mut W, text: &str) {
    let sent = async {
        writer.write_all(text.as_bytes()).await?;
        writer.flush().await
    };
    let _shell_is_gone = sent.await;
}

/// Sends the program, packed with its packed size ahead or as it is. Ends well, too, when the host stops reading: then it has
/// said why.
async fn upload<W>(binary: &AgentBinary, packed: bool, writer: &mut W) -> Result<(), Option<ConnectFailure>>
where
    W: AsyncWrite + Unpin,
{
    let unreadable = |error: BinaryError| Some(ConnectFailure::Binary(error.to_string()));
    let program = if packed {
        let program = binary.packed().await.map_err(unreadable)?;
        send(writer, &format!("{}\n", program.len())).await;
        program
    } else {
        binary.plain().await.map_err(unreadable)?
    };
    for piece in program.chunks(PIECE) {
        match tokio::time::timeout(STALL_LIMIT, writer.write_all(piece)).await {
            Ok(Ok(())) => (),
            Ok(Err(_)) => return Ok(()),
            Err(_) => {
                let said = "it stopped taking the agent's program in".to_owned();
                return Err(Some(ConnectFailure::NoAnswer {
                    seconds: STALL_LIMIT.as_secs(),
                    said,
                }));
            }
        }
    }
    let _host_stopped_reading = writer.flush().await;
    Ok(())
}

/// A text as escapes for `printf %b`, so that none of its characters means anything to a shell.
fn octal(text: &str) -> String {
    text.bytes().fold(String::new(), |mut escaped, byte| {
        // Writing to a string does not fail.
        let _always_ok = write!(escaped, "\\0{byte:03o}");
        escaped
    })
}
