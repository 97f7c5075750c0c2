/// Walks over the lines and fields of a `/proc` file without making strings of them.
struct ByteCursor {
    private(set) var rest: ArraySlice<UInt8>

    init(_ bytes: ArraySlice<UInt8>) {
        rest = bytes
    }

    /// The next line without its newline, or nil at the end. A last line without newline counts.
    mutating func line() -> ArraySlice<UInt8>? {
        guard !rest.isEmpty else { return nil }
        let end = rest.firstIndex(of: UInt8(ascii: "\n")) ?? rest.endIndex
        defer { rest = rest[min(end + 1, rest.endIndex)...] }
        return rest[rest.startIndex..<end]
    }

    /// The next field, fields being separated by spaces or tabs, or nil at the end.
    mutating func field() -> ArraySlice<UInt8>? {
        guard let start = rest.firstIndex(where: { !Self.isBlank($0) }) else { return nil }
        let end = rest[start...].firstIndex(where: Self.isBlank) ?? rest.endIndex
        defer { rest = rest[end...] }
        return rest[start..<end]
    }

    /// The next field as a whole number, or nil where it is missing, no number, or does not fit.
    mutating func unsigned() -> UInt64? {
        field().flatMap(Self.unsigned)
    }

    /// The next field as a number such as `0.42`, or nil where it is missing or no number.
    mutating func decimal() -> Double? {
        field().flatMap(Self.decimal)
    }

    /// Passes over `count` fields, or as many as there are.
    mutating func skip(_ count: Int) {
        for _ in 0..<count where field() == nil { return }
    }

    /// Digits only, no sign; nil where the value exceeds 64 bits.
    static func unsigned(_ digits: ArraySlice<UInt8>) -> UInt64? {
        guard !digits.isEmpty else { return nil }
        var value: UInt64 = 0
        for byte in digits {
            guard byte >= UInt8(ascii: "0"), byte <= UInt8(ascii: "9") else { return nil }
            let (tenfold, overflow) = value.multipliedReportingOverflow(by: 10)
            let (next, carry) = tenfold.addingReportingOverflow(UInt64(clamping: byte &- UInt8(ascii: "0")))
            guard !overflow, !carry else { return nil }
            value = next
        }
        return value
    }

    /// Digits with at most one point between them, as the kernel prints loads and uptimes: no sign, no exponent.
    static func decimal(_ text: ArraySlice<UInt8>) -> Double? {
        guard let point = text.firstIndex(of: UInt8(ascii: ".")) else { return unsigned(text).map { Double($0) } }
        let fraction = text[(point + 1)...]
        // Nine digits are below a nanosecond; more would not fit the divisor.
        guard fraction.count <= 9, let whole = unsigned(text[..<point]), let part = unsigned(fraction) else {
            return nil
        }
        var divisor = 1.0
        for _ in fraction { divisor *= 10 }
        return Double(whole) + Double(part) / divisor
    }

    private static func isBlank(_ byte: UInt8) -> Bool {
        byte == UInt8(ascii: " ") || byte == UInt8(ascii: "\t")
    }
}
