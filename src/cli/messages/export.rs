//! `handoff messages export`: the messages themselves, for another system or another day.
use super::super::selection::{Data, Selection};
use crate::search::Order;
use anyhow::{Context as _, bail};
use clap::{Args, ValueEnum};
use std::fs::{self, File};
use std::io::{BufWriter, Write};
use std::ops::ControlFlow;
use std::path::PathBuf;

#[derive(Debug, Args)]
pub(super) struct ExportArgs {
    #[command(flatten)]
    selection: Selection,
    /// The file or folder to make; it must not be there yet
    #[arg(long, value_name = "PATH")]
    out: PathBuf,
    /// How they are written
    #[arg(long = "as", value_enum, default_value = "file")]
    form: Form,
    /// Write at most so many
    #[arg(long, value_name = "N")]
    limit: Option<u64>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Form {
    /// One file, one message after the other, segments ended by CR
    File,
    /// One file of MLLP frames
    Mllp,
    /// A folder with a file for each message, named after its number
    Folder,
}

pub(super) fn run(data: &mut Data, args: &ExportArgs) -> anyhow::Result<bool> {
    let cannot = || format!("cannot write {}", args.out.display());
    let mut file = match args.form {
        Form::Folder => {
            fs::create_dir(&args.out).with_context(cannot)?;
            None
        }
        Form::File | Form::Mllp => Some(BufWriter::new(File::create_new(&args.out).with_context(cannot)?)),
    };
    let (mut written, mut unreadable, mut frame) = (0, 0, Vec::new());
    let scanned = data.select(&args.selection, Order::OldestFirst, |found| {
        if args.limit == Some(written) {
            return Ok(ControlFlow::Break(()));
        }
        let Some(record) = found.record else {
            unreadable += 1;
            eprintln!("the journal cannot read message {}", found.entry.seq);
            return Ok(ControlFlow::Continue(()));
        };
        written += 1;
        frame.clear();
        match (&mut file, args.form) {
            (Some(file), Form::Mllp) => {
                crate::mllp::frame(&record.raw, &mut frame);
                file.write_all(&frame).with_context(cannot)?;
            }
            (Some(file), _) => {
                file.write_all(&record.raw).with_context(cannot)?;
                if !matches!(record.raw.last(), Some(b'\r' | b'\n')) {
                    file.write_all(b"\r").with_context(cannot)?;
                }
            }
            (None, _) => {
                let path = args.out.join(format!("{:020}.hl7", found.entry.seq));
                fs::write(&path, &record.raw).with_context(|| format!("cannot write {}", path.display()))?;
            }
        }
        Ok(ControlFlow::Continue(()))
    })?;
    if let Some(file) = file {
        file.into_inner()
            .map_err(std::io::IntoInnerError::into_error)
            .and_then(|file| file.sync_all())
            .with_context(cannot)?;
    }
    eprintln!("{written} messages written to {}", args.out.display());
    if scanned.cut {
        bail!("stopped after {} messages were read for --text: narrow the search, or raise --scan-max", scanned.read);
    }
    Ok(written > 0 && unreadable == 0)
}
