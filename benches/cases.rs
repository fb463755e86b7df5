//! The messages that benches and tests measure and compare with. Patients are invented.

/// Each case by name: a small admission, a small result, one of 10,000 observations, one with a megabyte in one field.
pub fn all() -> Vec<(&'static str, Vec<u8>)> {
    vec![("adt_a01", adt_a01()), ("oru_r01", oru(15)), ("oru_10k", oru(10_000)), ("oru_1mb", oru_1mb())]
}

/// An admission of about 1.5 KB.
pub fn adt_a01() -> Vec<u8> {
    ADT_A01.replace('\n', "\r").into_bytes()
}

/// A result with a megabyte of base64 in one OBX-5.
pub fn oru_1mb() -> Vec<u8> {
    let mut message = oru(0);
    message.extend_from_slice(b"OBX|1|ED|18842-5^Discharge summary^LN||RAMSEY^application^pdf^Base64^");
    // Any bytes do; a simple generator makes the same ones each time.
    let mut state = 1_u32;
    message.extend((0..1 << 20).map(|_| {
        state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        BASE64[(state >> 26) as usize]
    }));
    message.extend_from_slice(b"||||||F\r");
    message
}

/// A result with that many observations, a note after every fifth.
pub fn oru(observations: usize) -> Vec<u8> {
    let mut message = ORU_HEAD.replace('\n', "\r");
    for number in 1..=observations {
        let (code, unit, range) = ANALYTES[number % ANALYTES.len()];
        let value = 10 + number * 37 % 400;
        message.push_str(&format!(
            "OBX|{number}|NM|{code}^LN^{number}^L||{}.{}|{unit}^{unit}^UCUM|{range}|{}|||F|||20240311071500+0100||4711^Okafor^Nneka^^^Dr.|GC-2^Hematology\r",
            value / 10,
            value % 10,
            if value > 300 { "H" } else { "N" },
        ));
        if number % 5 == 0 {
            message.push_str(&format!("NTE|{number}|L|Checked twice on another analyser; see the comment of run {number} \\T\\ the quality protocol of that day, page {number}.\r"));
        }
    }
    message.into_bytes()
}

const BASE64: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

const ANALYTES: [(&str, &str, &str); 5] = [
    ("718-7^Hemoglobin [Mass/volume] in Blood", "g/dL", "12.0-15.5"),
    ("6690-2^Leukocytes [#/volume] in Blood", "10*3/uL", "4.5-11.0"),
    ("777-3^Platelets [#/volume] in Blood", "10*3/uL", "150-450"),
    ("2345-7^Glucose [Mass/volume] in Serum", "mg/dL", "70-99"),
    ("2823-3^Potassium [Moles/volume] in Serum", "mmol/L", "3.5-5.1"),
];

const ORU_HEAD: &str = "\
MSH|^~\\&|LABSYS|NORTHLAB|EHR|STELLA|20240311074502+0100||ORU^R01^ORU_R01|L0003881|P|2.5.1|||AL|NE|DEU|UNICODE UTF-8
PID|1||900127^^^STELLA&1.2.276.0.76.3.1.999&ISO^MR~X4471^^^INS^NH||Brandt^Leonie^Marie^^Dr.^^L||19790523|F|||Lindenweg 7^^Freiburg^^79100^DEU^H||^PRN^PH^^49^761^5550142
PV1|1|I|W3^12^B^STELLA^^^^N||||2201^Yilmaz^Deniz^^^Dr.|||MED||||7|||2201^Yilmaz^Deniz^^^Dr.||V88120^^^STELLA^VN
ORC|RE|P55120^EHR|F99013^LABSYS||CM||||20240311064000+0100|||2201^Yilmaz^Deniz^^^Dr.
OBR|1|P55120^EHR|F99013^LABSYS|58410-2^CBC panel - Blood by Automated count^LN|||20240311064000+0100|||||||||2201^Yilmaz^Deniz^^^Dr.||||||20240311074400+0100||HM|F
";

const ADT_A01: &str = "\
MSH|^~\\&|ADMIT|STELLA|EHR|STELLA|20240310221503+0100||ADT^A01^ADT_A01|A0018823|P|2.5.1|||AL|NE|DEU|UNICODE UTF-8
EVN|A01|20240310221500+0100|||5512^Hoang^Mai
PID|1||900127^^^STELLA&1.2.276.0.76.3.1.999&ISO^MR~X4471^^^INS^NH||Brandt^Leonie^Marie^^Dr.^^L||19790523|F||2106-3|Lindenweg 7^^Freiburg^^79100^DEU^H||^PRN^PH^^49^761^5550142~^NET^Internet^leonie@example.org||de|M|||||||||||||||N
PD1|||Praxis am Park^^77120|3304^Seidel^Jonas^^^Dr.
NK1|1|Brandt^Oskar|SPO^Spouse^HL70063|Lindenweg 7^^Freiburg^^79100^DEU|^PRN^PH^^49^761^5550143||C^Emergency Contact^HL70131
PV1|1|I|W3^12^B^STELLA^^^^N|E|||2201^Yilmaz^Deniz^^^Dr.|3304^Seidel^Jonas^^^Dr.||MED||||7|||2201^Yilmaz^Deniz^^^Dr.|IN|V88120^^^STELLA^VN|||||||||||||||||||||||||20240310220000+0100
PV2||PR^Private^L|R07.4^Chest pain^I10|||||20240311|3
AL1|1|DA^Drug allergy^HL70127|7980^Penicillin^RXNORM|MO|Hives~Itching|20110402
AL1|2|FA^Food allergy^HL70127|256349002^Peanut^SCT|SV|Swelling|20090815
OBX|1|NM|29463-7^Body weight^LN||71.5|kg^kg^UCUM|||||F|||20240310221000+0100
OBX|2|NM|8302-2^Body height^LN||168|cm^cm^UCUM|||||F|||20240310221000+0100
DG1|1||R07.4^Chest pain, unspecified^I10||20240310|A
DG1|2||I10^Essential hypertension^I10||20180604|F
GT1|1||Brandt^Leonie^Marie||Lindenweg 7^^Freiburg^^79100^DEU|^PRN^PH^^49^761^5550142|||F||SE
IN1|1|GK1^Statutory^L|109905003|Nordkasse|Postfach 11^^Hamburg^^20095^DEU||||||||20240101|20241231||1|Brandt^Leonie|SEL|19790523|Lindenweg 7^^Freiburg^^79100^DEU
";
