import Testing
import WireFormat

@Suite("A time as RFC 3339 writes it")
struct RFC3339Tests {
    @Test(
        "is read to the nanosecond, with any offset",
        arguments: [
            ("1970-01-01T00:00:00Z", Int64(0), Int64(0)),
            ("2026-01-31T12:00:00.123456789Z", 1_769_860_800, 123_456_789),
            ("2026-01-31t13:00:00+01:00", 1_769_860_800, 0),
            ("2026-01-31T06:30:00.5-05:30", 1_769_860_800, 500_000_000),
            ("2024-02-29T00:00:00Z", 1_709_164_800, 0), ("2000-02-29T23:59:59z", 951_868_799, 0),
            ("1969-12-31T23:59:59.999Z", -1, 999_000_000), ("0000-01-01T00:00:00Z", -62_167_219_200, 0),
            ("0000-03-01T00:00:00Z", -62_162_035_200, 0), ("9999-12-31T23:59:59Z", 253_402_300_799, 0),
            ("2300-01-01T00:00:00Z", 10_413_792_000, 0), ("2016-12-31T23:59:60Z", 1_483_228_800, 0),
            ("1970-01-01T00:00:00.999999999999Z", 0, 999_999_999),
        ]
    )
    func read(text: String, seconds: Int64, nanoseconds: Int64) throws {
        let time = try #require(RFC3339Time(text))
        #expect(time.seconds == seconds && time.nanoseconds == nanoseconds)
    }

    @Test(
        "is none where calendar or clock have no such time, or something stands behind it",
        arguments: [
            "2026-02-30T00:00:00Z", "2026-02-29T00:00:00Z", "1900-02-29T00:00:00Z", "2026-04-31T00:00:00Z",
            "2026-13-01T00:00:00Z", "2026-00-10T00:00:00Z", "2026-01-00T00:00:00Z", "2026-01-32T00:00:00Z",
            "2026-01-31T24:00:00Z", "2026-01-31T12:60:00Z", "2026-01-31T12:00:61Z", "2026-01-31T12:00:60Z",
            "2026-01-31T12:00:00Zjunk", "2026-01-31T12:00:00Z ", " 2026-01-31T12:00:00Z", "2026-01-31T12:00:00",
            "2026-01-31T12:00:00.Z", "2026-01-31T12:00:00+0100", "2026-01-31T12:00:00+24:00",
            "2026-01-31T12:00:00+01:60",
            "2026-01-31T12:00:00+01:00Z", "2026-01-31 12:00:00Z", "26-01-31T12:00:00Z", "+2026-01-31T12:00:00Z",
            "2026-1-31T12:00:00Z", "2026-01-31T12:00Z", "99999-01-01T00:00:00Z", "-001-01-01T00:00:00Z", "",
            "2026-01-31T12:00:00.0000000000000000000000001Z", "٢٠٢٦-01-31T12:00:00Z",
        ]
    )
    func refused(text: String) {
        #expect(RFC3339Time(text) == nil)
    }

    @Test("days follow each other, over every kind of month and year")
    func calendar() {
        var expected: Int64?
        for year in Int64(1895)...2105 {
            for month in Int64(1)...12 {
                for day in Int64(1)...31 {
                    let time = CivilTime.seconds(year: year, month: month, day: day, hour: 0, minute: 0, second: 0)
                    guard let time else { continue }
                    if let expected { #expect(time == expected) }
                    expected = time + 86_400
                }
            }
        }
    }
}
