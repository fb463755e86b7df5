//! Pages of the desk that are open while the gateway is measured, as a browser holds them: signed in, the dashboard loaded, and its stream read to the end.
use crate::admin::credentials;
use anyhow::{Context as _, bail, ensure};
use reqwest::header::{COOKIE, ORIGIN, SET_COOKIE};
use reqwest::{Client, redirect};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::{Duration, Instant};
use tokio::net::TcpListener;
use tokio::task::JoinSet;

/// Dashboards that are open.
const OPEN: usize = 5;
/// How long the desk may take until it answers.
const READY_MAX: Duration = Duration::from_secs(10);

/// Where the desk of a measured gateway is to be, and who signs in.
pub(super) struct Desk {
    address: String,
    token: String,
    sha256: String,
}

/// Pages that are open until this is dropped.
pub(super) struct Pages {
    told: Arc<AtomicU64>,
    _reading: JoinSet<()>,
}

impl Desk {
    /// A free address, and a token that nobody has.
    pub async fn new() -> anyhow::Result<Desk> {
        // It is free again once this is over.
        let address = TcpListener::bind("127.0.0.1:0").await?.local_addr()?.to_string();
        let (token, sha256) = credentials::create().context("no random numbers")?;
        Ok(Desk { address, token, sha256 })
    }

    /// The lines of its configuration.
    pub fn configuration(&self) -> String {
        let Desk { address, sha256, .. } = self;
        format!(
            "[admin]\nlisten = \"{address}\"\ntokens = [{{ name = \"bench\", role = \"operator\", sha256 = \"{sha256}\" }}]\n"
        )
    }

    /// Opens the dashboard so many times.
    pub async fn open(&self) -> anyhow::Result<Pages> {
        let client = Client::builder().redirect(redirect::Policy::none()).no_proxy().build()?;
        let (told, mut reading) = (Arc::new(AtomicU64::new(0)), JoinSet::new());
        let cookie = self.sign_in(&client).await?;
        for _ in 0..OPEN {
            let page = client.get(format!("http://{}/", self.address)).header(COOKIE, &cookie).send().await?;
            let page = page.error_for_status()?.text().await?;
            let stream = page.split("sse-connect=\"").nth(1).and_then(|rest| rest.split('"').next());
            let stream = stream.context("the dashboard names no stream")?.replace("&amp;", "&");
            let stream = client.get(format!("http://{}{stream}", self.address)).header(COOKIE, &cookie).send().await?;
            let (mut stream, told) = (stream.error_for_status()?, Arc::clone(&told));
            reading.spawn(async move {
                while let Ok(Some(bytes)) = stream.chunk().await {
                    told.fetch_add(bytes.len() as u64, Ordering::Relaxed);
                }
            });
        }
        Ok(Pages { told, _reading: reading })
    }

    /// The cookie of a session.
    async fn sign_in(&self, client: &Client) -> anyhow::Result<String> {
        let origin = format!("http://{}", self.address);
        let begun = Instant::now();
        let answer = loop {
            let form = format!("token={}", self.token);
            let request = client.post(format!("{origin}/sign-in")).header(ORIGIN, &origin).body(form);
            let request = request.header(reqwest::header::CONTENT_TYPE, "application/x-www-form-urlencoded");
            match request.send().await {
                Ok(answer) => break answer,
                Err(error) if begun.elapsed() > READY_MAX => return Err(error).context("the desk does not answer"),
                Err(_) => tokio::time::sleep(Duration::from_millis(50)).await,
            }
        };
        let Some(cookie) = answer.headers().get(SET_COOKIE) else { bail!("the desk refuses: {}", answer.status()) };
        Ok(cookie.to_str()?.split(';').next().unwrap_or_default().to_owned())
    }
}

impl Pages {
    /// That they have been kept up to date.
    ///
    /// # Errors
    /// When nothing was told: then nothing was measured either.
    pub fn were_told(&self) -> anyhow::Result<()> {
        ensure!(self.told.load(Ordering::Relaxed) > 0, "the open pages were told nothing");
        Ok(())
    }
}
