//! Code tables, systems and authorities: v2 codes → pre-rendered codings.
use super::Compiler;
use crate::mapping::diagnostic::Code;
use crate::mapping::plan::{Table, TableRow};
use crate::mapping::source::{Location, TableSource};

impl Compiler<'_, '_> {
    pub(super) fn tables(&mut self) {
        for table in self.sources.tables.values() {
            let compiled = self.table(table);
            self.table_ids.insert(table.name.clone(), self.plan.tables.len() as u16);
            self.plan.tables.push(compiled);
        }
        for (name, uri) in &self.sources.systems {
            let uri = self.text(uri.as_bytes());
            self.plan.systems.insert(name.as_bytes().into(), uri);
        }
        for (name, uri) in &self.sources.authorities {
            let uri = self.text(uri.as_bytes());
            self.plan.authorities.insert(name.as_bytes().into(), uri);
        }
        let types = &self.sources.profile.patient_types;
        self.plan.patient_types = match types.is_empty() {
            true => [b"MR", b"PI", b"PT"].iter().map(|t| t.to_vec()).collect(),
            false => types.iter().map(|t| t.clone().into_bytes()).collect(),
        };
        self.plan.nulls = self.sources.profile.nulls;
    }

    fn table(&mut self, source: &TableSource) -> Table {
        let mut table = Table { name: source.name.clone(), index: Default::default(), rows: Vec::new() };
        for row in &source.rows {
            if row.fhir.is_empty() {
                continue;
            }
            let mut coding = String::from("{");
            for (key, value) in [("system", &row.system), ("code", &row.fhir), ("display", &row.display)] {
                if !value.is_empty() {
                    let comma = if coding.len() > 1 { "," } else { "" };
                    coding.push_str(&format!("{comma}\"{key}\":{}", serde_json::Value::from(value.as_str())));
                }
            }
            coding.push('}');
            let compiled = TableRow {
                code: self.text(row.fhir.as_bytes()),
                system: self.text(row.system.as_bytes()),
                coding: self.text(coding.as_bytes()),
                location: row.location,
            };
            table.index.insert(row.code.as_bytes().into(), table.rows.len() as u32);
            table.rows.push(compiled);
        }
        table
    }

    pub(super) fn table_id(&mut self, name: &str, location: Location) -> Option<u16> {
        if let Some(id) = self.table_ids.get(name) {
            self.used_tables.insert(name.to_owned());
            return Some(*id);
        }
        let suggestion = match crate::mapping::diagnostic::nearest(name, self.table_ids.keys().map(String::as_str)) {
            Some(near) => format!("did you mean `{near}`?"),
            None => format!(
                "`handoff mappings list` names those there are; one of your own is `[table.{name}]`, or the file `tables/{name}.csv`"
            ),
        };
        self.diagnostics
            .error(Code::UnknownTable, location, format!("there is no code table `{name}`"))
            .suggest_last(suggestion);
        None
    }

    /// Every code of a table that goes into a required binding must be one of its codes.
    pub(super) fn table_codes(&mut self, table: u16, set: &'static crate::fhir::shape::CodeSet) {
        let name = &self.plan.tables[usize::from(table)].name;
        let Some(source) = self.sources.tables.get(name) else { return };
        for row in &source.rows {
            if !row.fhir.is_empty() && !set.contains(&row.fhir) {
                let suggestion =
                    crate::mapping::diagnostic::nearest(&row.fhir, set.codes()).map(|n| format!("did you mean `{n}`?"));
                self.diagnostics
                    .error(
                        Code::NotInCodes,
                        row.location,
                        format!("`{}` is not one of the codes that the element requires", row.fhir),
                    )
                    .suggest_some(suggestion);
            }
        }
    }
}
