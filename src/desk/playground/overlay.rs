//! The file that is written: a file of the listener's site, changed or new.
use super::workshop::name;
use crate::admin::problem::Problem;
use crate::mapping::folder::Folder;
use crate::mapping::source::{Layer, SourceFile};
use crate::server::ListenerMappings;
use axum::http::{HeaderValue, StatusCode, header};
use axum::response::{IntoResponse as _, Response};
use std::path::{Component, Path};

/// A file as it would lie in the folder of the site.
#[derive(Clone)]
pub(super) struct Overlay {
    /// Its path within the folder.
    pub path: String,
    /// Its text.
    pub text: String,
    /// Whose it is, by its path.
    pub layer: Layer,
}

/// What a new file is called, unless somebody calls it otherwise.
pub(super) const PATH: &str = "playground.toml";
/// Longest text.
const TEXT_BYTES_MAX: usize = 512 << 10;
const PATH_BYTES_MAX: usize = 200;
/// The first line of a file that was made here. CSV knows no comments.
const MARK: &str = "# handoff overlay: ";

impl Overlay {
    /// What was filled in, if it can be a file of a site.
    pub fn of(path: &str, text: &str) -> Result<Overlay, Problem> {
        let path = if path.trim().is_empty() { PATH } else { path.trim() };
        let wrong = |detail: &str| {
            let remedy = "name a file within the folder of the site, such as patient.toml or feeds/lab/feed.toml";
            Problem::new(StatusCode::UNPROCESSABLE_ENTITY, "no such place", detail, remedy)
        };
        let plain = |byte: u8| (b' '..=b'~').contains(&byte) && !b"\"\\".contains(&byte);
        if path.len() > PATH_BYTES_MAX || !path.bytes().all(plain) {
            return Err(wrong("the path is too long, or has other letters than those of ASCII"));
        }
        if !Path::new(path).components().all(|step| matches!(step, Component::Normal(_))) {
            return Err(wrong("the path leads out of the folder"));
        }
        let layer = Folder::Site.layer(Path::new(path));
        let layer = layer.ok_or_else(|| wrong("mappings are .toml or .csv files that do not lie in tests/"))?;
        if text.len() > TEXT_BYTES_MAX {
            let detail = format!("the overlay is longer than {TEXT_BYTES_MAX} bytes");
            let remedy = "spread it over several files; try one after the other";
            return Err(Problem::new(StatusCode::PAYLOAD_TOO_LARGE, "too large", detail, remedy));
        }
        // A form sends CR LF for every line end.
        Ok(Overlay { path: path.to_owned(), text: text.replace("\r\n", "\n"), layer })
    }

    /// The file of the site with that path, as the gateway has it.
    pub fn present<'m>(at: &'m ListenerMappings, path: &str) -> Option<&'m SourceFile> {
        let name = name(at.site.as_deref(), path);
        at.plan.sources().files.iter().find(|file| file.name == name && is_of_site(file))
    }

    /// Whether it leaves everything as it is.
    pub fn is_nothing(&self, at: &ListenerMappings) -> bool {
        Overlay::present(at, &self.path).map_or(self.text.trim().is_empty(), |file| file.text == self.text)
    }

    /// To be kept as a file.
    pub fn download(&self) -> Response {
        let (mut text, media) = (String::new(), if self.is_csv() { "text/csv" } else { "application/toml" });
        let mut own = self.text.as_str();
        if !self.is_csv() {
            let place =
                format!("{MARK}{} in the folder of the site; then: handoff mappings check --site DIR", self.path);
            text = place + "\n";
            own = match own.split_once('\n') {
                Some((first, rest)) if first.starts_with(MARK) => rest,
                _ => own,
            };
        }
        text.push_str(own);
        if !text.ends_with('\n') {
            text.push('\n');
        }
        let name = self.path.rsplit('/').next().unwrap_or(PATH);
        let mut answer = ([(header::CONTENT_TYPE, format!("{media}; charset=utf-8"))], text).into_response();
        if let Ok(value) = HeaderValue::from_str(&format!("attachment; filename=\"{name}\"")) {
            answer.headers_mut().insert(header::CONTENT_DISPOSITION, value);
        }
        answer
    }

    fn is_csv(&self) -> bool {
        self.path.ends_with(".csv")
    }
}

/// Whether a file is of the site, or of one of its feeds.
pub(super) fn is_of_site(file: &SourceFile) -> bool {
    matches!(file.layer, Layer::Site | Layer::Feed(_))
}

/// What a file of a listener's mappings is called on the page: of the site, its path within the folder.
pub(super) fn shown<'n>(at: &ListenerMappings, name: &'n str) -> &'n str {
    let within = |site| Path::new(name).strip_prefix(site).ok()?.to_str();
    at.site.as_deref().and_then(within).unwrap_or(name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_lies_within_the_site() {
        for (path, layer) in [
            ("", Layer::Site),
            ("patient.toml", Layer::Site),
            ("tables/Sex.csv", Layer::Site),
            ("feeds/old lab/feed.toml", Layer::Feed("old lab".into())),
        ] {
            assert_eq!(Overlay::of(path, "").map(|overlay| overlay.layer).ok(), Some(layer), "{path}");
        }
        for path in [
            "/etc/x.toml",
            "../x.toml",
            "a/../../x.toml",
            "x.txt",
            "tests/a/x.toml",
            "a\"b.toml",
            "ä.toml",
            "a\nb.toml",
        ] {
            assert!(Overlay::of(path, "").is_err(), "{path}");
        }
        assert_eq!(Overlay::of("", "a\r\nb").map(|overlay| overlay.text).ok().as_deref(), Some("a\nb"));
    }
}
