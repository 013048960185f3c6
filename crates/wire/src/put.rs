//! Sends a file to a host: what the host has already is not sent again, and a lost connection goes on where it ended.

use std::collections::VecDeque;
use std::io::SeekFrom;
use std::path::{Path, PathBuf};

use bytes::{Bytes, BytesMut};
use tokio::fs::File;
use tokio::io::{AsyncReadExt, AsyncSeekExt};
use upshift_model::action::Artifact;

use crate::client::{Agent, Answer, CallError};
use crate::protocol::{Request, Response};
use crate::session::{Pause, Session};

/// Size of a piece.
const CHUNK: usize = 512 * 1024;
/// How many pieces may be on their way.
const IN_FLIGHT: usize = 8;

/// Why a file did not arrive.
#[derive(Debug, thiserror::Error)]
pub enum PutError {
    /// The file on this machine cannot be read.
    #[error("{} cannot be read: {reason}", .path.display())]
    Unreadable {
        /// The file.
        path: PathBuf,
        /// Why.
        reason: std::io::Error,
    },
    /// The file on this machine is not the one that was planned with.
    #[error("{} has {found} bytes, but {expected} were planned with: it was changed since", .path.display())]
    Changed {
        /// The file.
        path: PathBuf,
        /// Its size now.
        found: u64,
        /// Its size when the plan was made.
        expected: u64,
    },
    /// The host says that it has more bytes than the file.
    #[error("the host has {received} bytes of a file of {size}")]
    Overfull {
        /// What the host says.
        received: u64,
        /// The file's size.
        size: u64,
    },
    /// The host still lacks bytes after everything was sent.
    #[error("the host has only {received} of {size} bytes after all were sent")]
    Incomplete {
        /// What the host says.
        received: u64,
        /// The file's size.
        size: u64,
    },
    /// The host refuses it, or the connection failed.
    #[error(transparent)]
    Call(#[from] CallError),
}

/// What it took.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Sent {
    /// Bytes that were sent; zero where the host had the file.
    pub bytes: u64,
}

/// Sends the file at `path`, whatever happens to the connection. `progress` is told how many bytes the host has.
pub async fn put(
    session: &Session,
    artifact: &Artifact,
    path: &Path,
    progress: &(dyn Fn(u64) + Send + Sync),
) -> Result<Sent, PutError> {
    let mut sent = Sent::default();
    let mut pause = Pause::default();
    loop {
        // A host that cannot be reached now is tried again, with growing pauses, by the session.
        let Ok(connected) = session.connected().await else {
            continue;
        };
        match put_over(&connected.agent, artifact, path, progress, &mut sent).await {
            Err(PutError::Call(CallError::Disconnected { .. })) => pause.take().await,
            Err(error) => return Err(error),
            Ok(()) => return Ok(sent),
        }
    }
}

/// Sends the file over one connection. Adds to `sent` as it goes.
async fn put_over(
    agent: &Agent,
    artifact: &Artifact,
    path: &Path,
    progress: &(dyn Fn(u64) + Send + Sync),
    sent: &mut Sent,
) -> Result<(), PutError> {
    let (received, complete) = put_answer(agent.call(Request::PutBegin(artifact.clone())).await?)?;
    progress(received);
    if complete {
        return Ok(());
    }
    if received > artifact.size {
        return Err(PutError::Overfull {
            received,
            size: artifact.size,
        });
    }
    let mut file = open_at(path, artifact.size, received).await?;
    let mut offset = received;
    let mut answers: VecDeque<Answer> = VecDeque::with_capacity(IN_FLIGHT);
    while offset < artifact.size {
        let piece = read_piece(&mut file, path, artifact.size - offset).await?;
        let length = piece.len() as u64;
        let request = Request::PutChunk {
            sha256: artifact.sha256.clone(),
            offset,
        };
        answers.push_back(agent.post(request, piece).await?);
        offset += length;
        sent.bytes += length;
        if answers.len() >= IN_FLIGHT
            && let Some(answer) = answers.pop_front()
        {
            progress(put_answer(answer.wait().await?)?.0);
        }
    }
    for answer in answers {
        progress(put_answer(answer.wait().await?)?.0);
    }
    let (received, complete) = put_answer(
        agent
            .call(Request::PutEnd {
                sha256: artifact.sha256.clone(),
            })
            .await?,
    )?;
    if complete {
        Ok(())
    } else {
        Err(PutError::Incomplete {
            received,
            size: artifact.size,
        })
    }
}

fn put_answer(response: Response) -> Result<(u64, bool), CallError> {
    match response {
        Response::Put { received, complete } => Ok((received, complete)),
        _ => Err(CallError::Unexpected { asked: "put" }),
    }
}

async fn open_at(path: &Path, size: u64, offset: u64) -> Result<File, PutError> {
    let unreadable = |reason| PutError::Unreadable {
        path: path.to_owned(),
        reason,
    };
    let mut file = File::open(path).await.map_err(unreadable)?;
    file.set_max_buf_size(CHUNK);
    let found = file.metadata().await.map_err(unreadable)?.len();
    if found != size {
        return Err(PutError::Changed {
            path: path.to_owned(),
            found,
            expected: size,
        });
    }
    file.seek(SeekFrom::Start(offset)).await.map_err(unreadable)?;
    Ok(file)
}

/// The next piece of the file; never empty.
async fn read_piece(file: &mut File, path: &Path, left: u64) -> Result<Bytes, PutError> {
    let wanted = usize::try_from(left).unwrap_or(CHUNK).min(CHUNK);
    let mut piece = BytesMut::zeroed(wanted);
    file.read_exact(&mut piece)
        .await
        .map_err(|reason| PutError::Unreadable {
            path: path.to_owned(),
            reason,
        })?;
    Ok(piece.freeze())
}
