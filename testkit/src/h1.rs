//! HTTP/1.1 without a library, so that a test sets every byte of a request.

use super::delivery::{Length, RequestEnding};
use super::{ClientResponse, TestDelivery};
use std::time::Duration;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt, ReadHalf, WriteHalf, split};

trait ByteStream: AsyncRead + AsyncWrite + Send + Unpin {}
impl<S: AsyncRead + AsyncWrite + Send + Unpin> ByteStream for S {}

/// Time for Envoy to read a piece before the next one, so that each piece is one callback.
const BETWEEN_PIECES: Duration = Duration::from_millis(1);

/// An open connection.
pub struct H1Connection {
    read: ResponseReader,
    write: WriteHalf<Box<dyn ByteStream>>,
}

impl H1Connection {
    pub fn over<S: AsyncRead + AsyncWrite + Send + Unpin + 'static>(stream: S) -> Self {
        let (read, write) = split(Box::new(stream) as Box<dyn ByteStream>);
        Self { read: ResponseReader { stream: read, bytes: Vec::new() }, write }
    }

    pub async fn send(&mut self, delivery: &TestDelivery) -> Result<ClientResponse, String> {
        self.exchange(writes(delivery), &delivery.method).await
    }

    pub async fn raw(&mut self, bytes: &[u8]) -> Result<ClientResponse, String> {
        self.exchange(vec![bytes.to_vec()], "POST").await
    }

    pub async fn write(&mut self, delivery: &TestDelivery) -> Result<(), String> {
        write(&mut self.write, writes(delivery)).await
    }

    /// Reads while it writes, so that an early response counts and a peer that stops reading does not block.
    async fn exchange(&mut self, writes: Vec<Vec<u8>>, method: &str) -> Result<ClientResponse, String> {
        let Self { read, write: to } = self;
        let answer = read.answer(method);
        tokio::pin!(answer);
        tokio::select! {
            answer = &mut answer => answer,
            _written_or_cut = write(to, writes) => answer.await,
        }
    }
}

async fn write(to: &mut WriteHalf<Box<dyn ByteStream>>, writes: Vec<Vec<u8>>) -> Result<(), String> {
    for (index, bytes) in writes.into_iter().enumerate() {
        if index > 1 {
            tokio::time::sleep(BETWEEN_PIECES).await;
        }
        to.write_all(&bytes).await.map_err(|error| error.to_string())?;
        to.flush().await.map_err(|error| error.to_string())?;
    }
    Ok(())
}

/// The writes of a request: head, pieces, end.
fn writes(delivery: &TestDelivery) -> Vec<Vec<u8>> {
    let mut head = format!("{} {} HTTP/1.1\r\n", delivery.method, delivery.path).into_bytes();
    let host =
        (!delivery.headers.iter().any(|(name, _)| name == "host")).then_some(("host", &b"gate.test"[..]));
    let given = delivery.headers.iter().map(|(name, value)| (&**name, &**value));
    for (name, value) in host.into_iter().chain(given) {
        head.extend_from_slice(&[name.as_bytes(), b": ", value, b"\r\n"].concat());
    }
    let chunked = delivery.length == Length::Undeclared;
    match delivery.length {
        Length::Declared => head.extend(format!("content-length: {}\r\n", delivery.body().len()).bytes()),
        Length::Claimed(length) => head.extend(format!("content-length: {length}\r\n").bytes()),
        Length::Undeclared => head.extend_from_slice(b"transfer-encoding: chunked\r\n"),
    }
    head.extend_from_slice(b"\r\n");
    let mut writes = vec![head];
    for piece in &delivery.pieces {
        writes.push(match chunked {
            true => [format!("{:x}\r\n", piece.len()).as_bytes(), piece, b"\r\n"].concat(),
            false => piece.clone(),
        });
    }
    match (&delivery.ending, chunked) {
        (RequestEnding::Open, _) | (RequestEnding::Last | RequestEnding::EmptyFrame, false) => {}
        (RequestEnding::Last | RequestEnding::EmptyFrame, true) => writes.push(b"0\r\n\r\n".to_vec()),
        (RequestEnding::Trailers(trailers), true) => {
            let lines =
                trailers.iter().map(|(name, value)| [name.as_bytes(), b": ", value, b"\r\n"].concat());
            writes.push([b"0\r\n".to_vec(), lines.collect::<Vec<_>>().concat(), b"\r\n".to_vec()].concat());
        }
        (RequestEnding::Trailers(_), false) => panic!("trailers over HTTP/1.1 need chunks"),
    }
    writes
}

struct ResponseReader {
    stream: ReadHalf<Box<dyn ByteStream>>,
    bytes: Vec<u8>,
}

impl ResponseReader {
    /// One final response. Skips interim responses.
    async fn answer(&mut self, method: &str) -> Result<ClientResponse, String> {
        let mut answer = self.head().await?;
        while answer.status < 200 {
            answer = self.head().await?;
        }
        if method == "HEAD" || answer.status == 204 || answer.status == 304 {
            return Ok(answer);
        }
        answer.body = if answer.header("transfer-encoding").as_deref() == Some("chunked") {
            self.chunks().await?
        } else if let Some(length) = answer.header("content-length") {
            self.exactly(length.parse().map_err(|_| format!("content-length {length}"))?).await?
        } else {
            while self.more().await? {}
            std::mem::take(&mut self.bytes)
        };
        Ok(answer)
    }

    async fn head(&mut self) -> Result<ClientResponse, String> {
        let status_line = self.line().await?;
        let status = status_line.split(' ').nth(1).and_then(|status| status.parse().ok());
        let mut answer = ClientResponse { status: status.ok_or(status_line)?, ..ClientResponse::default() };
        loop {
            let line = self.until(b"\r\n").await?;
            if line.is_empty() {
                return Ok(answer);
            }
            let colon = line.iter().position(|byte| *byte == b':').ok_or("a header without a colon")?;
            let name = String::from_utf8_lossy(&line[..colon]).to_ascii_lowercase();
            answer.headers.push((name, line[colon + 1..].trim_ascii().to_vec()));
        }
    }

    async fn chunks(&mut self) -> Result<Vec<u8>, String> {
        let mut body = Vec::new();
        loop {
            let size = self.line().await?;
            let size = usize::from_str_radix(&size, 16).map_err(|_| format!("chunk size {size}"))?;
            if size == 0 {
                while !self.line().await?.is_empty() {}
                return Ok(body);
            }
            body.extend(self.exactly(size).await?);
            self.exactly(2).await?;
        }
    }

    async fn line(&mut self) -> Result<String, String> {
        Ok(String::from_utf8_lossy(&self.until(b"\r\n").await?).into_owned())
    }

    async fn until(&mut self, end: &[u8]) -> Result<Vec<u8>, String> {
        loop {
            if let Some(at) = self.bytes.windows(end.len()).position(|window| window == end) {
                let found = self.exactly(at + end.len()).await?;
                return Ok(found[..at].to_vec());
            }
            self.must_more().await?;
        }
    }

    async fn exactly(&mut self, count: usize) -> Result<Vec<u8>, String> {
        while self.bytes.len() < count {
            self.must_more().await?;
        }
        Ok(self.bytes.drain(..count).collect())
    }

    async fn must_more(&mut self) -> Result<(), String> {
        match self.more().await? {
            true => Ok(()),
            false => Err(format!("closed after {:?}", String::from_utf8_lossy(&self.bytes))),
        }
    }

    async fn more(&mut self) -> Result<bool, String> {
        let mut buffer = [0; 16384];
        let count = self.stream.read(&mut buffer).await.map_err(|error| error.to_string())?;
        self.bytes.extend_from_slice(&buffer[..count]);
        Ok(count > 0)
    }
}
