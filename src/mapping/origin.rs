//! Of which bytes of a message each resource of its Bundle was made.
use super::{Context, Failure, Plan, Scratch};
use std::panic::{AssertUnwindSafe, catch_unwind};

impl Plan {
    /// Translates a message, and says for each resource of [`Scratch::entries`] at which bytes of it values begin that the resource was made of. None where the message had to be
    /// transcoded: its bytes are others then.
    ///
    /// # Errors
    /// As [`Plan::translate`].
    pub fn origins(
        &self,
        raw: &[u8],
        context: &Context<'_>,
        scratch: &mut Scratch,
    ) -> Result<Option<Vec<Vec<usize>>>, Failure> {
        let run = AssertUnwindSafe(|| self.translate_with::<true>(raw, context, scratch));
        catch_unwind(run).unwrap_or_else(|_| {
            let text = "internal error while translating; please report it with the message's structure".into();
            Err(Failure { code: 207, location: None, text })
        })?;
        if !scratch.transcoded.is_empty() {
            return Ok(None);
        }
        let mut traces = scratch.state.traces.iter().peekable();
        let mut all = Vec::with_capacity(scratch.state.entries.len());
        for entry in &scratch.state.entries {
            while traces.next_if(|trace| trace.start < entry.resource.start).is_some() {}
            let mut starts = Vec::new();
            while let Some(trace) = traces.next_if(|trace| trace.start < entry.resource.end) {
                starts.extend(trace.source.map(|span| span.start as usize));
            }
            all.push(starts);
        }
        Ok(Some(all))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_diagnosis_is_of_its_segment() {
        let raw = b"MSH|^~\\&|SBADT|SBMC|H|L|20260302101500-0500||ADT^A08^ADT_A01|S1|P|2.5.1\rPID|1||7^^^SBMC^MR||OKAFOR^MARISOL\rPV1|1|I|4W^412^B^SBMC||||||||||||||||V1^^^SBMC\rDG1|1||I10^Hypertension^I10C|||F\rDG1|2||E11.9^Diabetes^I10C|||F\r";
        let mut scratch = Scratch::new();
        let all = Plan::embedded().origins(raw, &Context::default(), &mut scratch).unwrap().unwrap();
        let segments: Vec<usize> =
            raw.windows(4).enumerate().filter(|(_, text)| text == b"DG1|").map(|(at, _)| at).collect();
        let of = |kind: &str| {
            let entries = scratch.entries().iter().zip(&all).filter(|(entry, _)| entry.resource_type == kind);
            entries.map(|(_, starts)| starts.clone()).collect::<Vec<_>>()
        };
        let conditions = of("Condition");
        assert_eq!(conditions.len(), 2);
        for (number, starts) in conditions.iter().enumerate() {
            let own: Vec<usize> =
                starts.iter().filter_map(|start| segments.iter().rposition(|at| at <= start)).collect();
            assert!(!own.is_empty() && own.iter().all(|own| *own == number), "{number}: {own:?}");
        }
        let patient = of("Patient");
        assert!(patient[0].iter().all(|start| *start < segments[0]) && !patient[0].is_empty());
    }
}
