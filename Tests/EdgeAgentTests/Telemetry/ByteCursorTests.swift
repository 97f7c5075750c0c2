import Testing

@testable import EdgeAgent

@Suite("ByteCursor")
struct ByteCursorTests {
    @Test("Lines come one by one, the last one also without newline")
    func lines() {
        var cursor = ByteCursor(Array("one\n\ntwo".utf8)[...])
        var lines: [String] = []
        while let line = cursor.line() { lines.append(String(decoding: line, as: UTF8.self)) }
        #expect(lines == ["one", "", "two"])
    }

    @Test("Fields are separated by any number of blanks and tabs")
    func fields() {
        var cursor = ByteCursor(Array("  a \t bc d  ".utf8)[...])
        var fields: [String] = []
        while let field = cursor.field() { fields.append(String(decoding: field, as: UTF8.self)) }
        #expect(fields == ["a", "bc", "d"])
        #expect(cursor.field() == nil)
    }

    @Test(
        "Whole numbers are digits that fit 64 bits",
        arguments: [
            ("0", 0), ("007", 7), ("18446744073709551615", UInt64.max), ("18446744073709551616", nil),
            ("99999999999999999999999", nil), ("", nil), ("-1", nil), ("+1", nil), ("1.5", nil), ("12a", nil),
            ("٣", nil),
        ] as [(String, UInt64?)]
    )
    func wholeNumbers(text: String, value: UInt64?) {
        #expect(ByteCursor.unsigned(Array(text.utf8)[...]) == value)
    }

    @Test(
        "Decimal numbers have at most one point with digits on both sides",
        arguments: [
            ("0.42", 0.42), ("12", 12), ("350735.47", 350735.47), ("1.", nil), (".5", nil), ("1.2.3", nil),
            ("-0.1", nil),
            ("1e3", nil), ("nan", nil), ("0.12345678901", nil),
        ] as [(String, Double?)]
    )
    func decimals(text: String, value: Double?) {
        #expect(ByteCursor.decimal(Array(text.utf8)[...]) == value)
    }
}
