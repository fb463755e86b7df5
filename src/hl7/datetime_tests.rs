use super::*;

fn error(value: &str) -> TimestampError {
    Timestamp::parse(value.as_bytes()).expect_err(value)
}

#[test]
fn each_precision() {
    let of = |value: &str| Timestamp::parse(value.as_bytes()).expect(value);
    for (value, precision) in [
        ("2024", Precision::Year),
        ("202402", Precision::Month),
        ("20240229", Precision::Day),
        ("2024022923", Precision::Hour),
        ("202402292359", Precision::Minute),
        ("20240229235958", Precision::Second),
        ("20240229235958.1", Precision::Second),
    ] {
        assert_eq!(of(value).precision, precision, "{value}");
        assert_eq!(of(&format!(" {value}-0500 ")).offset_minutes, Some(-300), "{value}");
    }
    let full = of("20240229235958.1234567+1400");
    assert_eq!((full.year, full.month, full.day, full.hour, full.minute, full.second), (2024, 2, 29, 23, 59, 58));
    assert_eq!((full.fraction, full.fraction_digits, full.offset_minutes), (*b"1234", 4, Some(840)));
    assert_eq!((of("2024").month, of("2024").day, of("20240229235958.05").fraction_digits), (1, 1, 2));
    assert_eq!(of("20240229-0000").offset_minutes, Some(0));
}

#[test]
fn only_real_times() {
    for value in [
        "20230229",
        "19000229",
        "20240431",
        "20241301",
        "20240001",
        "20240100",
        "2024010124",
        "202401012360",
        "20240101235960",
        "0000",
        "00000101",
    ] {
        assert!(matches!(error(value), TimestampError::Range { .. }), "{value}");
    }
    assert_eq!(error("20241301"), TimestampError::Range { offset: 4, value: 13 });
    for value in ["2", "20241", "2024010", "2024010112304", "202401011230455", "+0100"] {
        assert!(matches!(error(value), TimestampError::Length { .. }), "{value}");
    }
    for value in ["2024010112+1", "20240101+1500", "20240101+0160", "20240101-01000", "20240101+01a0"] {
        assert!(matches!(error(value), TimestampError::Offset { .. }), "{value}");
    }
    for value in ["20240101.5", "202401011230.5", "20240101123045."] {
        assert!(matches!(error(value), TimestampError::Fraction { .. }), "{value}");
    }
    assert_eq!(
        (error(" "), error("2024-01-01"), error("2024a")),
        (TimestampError::Empty, TimestampError::Offset { offset: 4 }, TimestampError::Digit { offset: 4 })
    );
}

#[test]
fn times_of_day() {
    let of = |value: &str| Time::parse(value.as_bytes());
    assert_eq!(of("0905").map(|time| (time.hour, time.minute, time.precision)), Ok((9, 5, Precision::Minute)));
    assert_eq!(
        of("235959.25+0100").map(|time| (time.second, time.fraction_digits, time.offset_minutes)),
        Ok((59, 2, Some(60)))
    );
    assert_eq!(
        (of("24"), of("1")),
        (Err(TimestampError::Range { offset: 0, value: 24 }), Err(TimestampError::Length { digits: 1 }))
    );
}
