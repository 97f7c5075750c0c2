/// A point in time as RFC 3339 §5.6 writes it: `2026-01-31T12:00:00.25+01:00`.
///
/// Only what the calendar and the clock have: no 30 February, no 24:00, nothing behind the offset. The one reader of such
/// times for everybody, because lenient ones make up a time for what is none.
public struct RFC3339Time: Sendable, Equatable {
    /// Longer is no time that anybody means.
    private static let maximumBytes = 40

    /// Since 1970, UTC.
    public let seconds: Int64
    /// 0 to 999,999,999; digits beyond are cut.
    public let nanoseconds: Int64

    /// Nil for anything else.
    public init?(_ text: some StringProtocol) {
        self.init(Array(text.utf8.prefix(Self.maximumBytes + 1))[...])
    }

    /// Nil for anything else.
    public init?(_ bytes: ArraySlice<UInt8>) {
        guard bytes.count <= Self.maximumBytes else { return nil }
        var rest = bytes
        guard let year = Self.number(&rest, 4), Self.take(&rest, "-"), let month = Self.number(&rest, 2),
            Self.take(&rest, "-"), let day = Self.number(&rest, 2), Self.take(&rest, "T") || Self.take(&rest, "t"),
            let hour = Self.number(&rest, 2), Self.take(&rest, ":"), let minute = Self.number(&rest, 2),
            Self.take(&rest, ":"), let second = Self.number(&rest, 2)
        else { return nil }
        var fraction: Int64 = 0
        if Self.take(&rest, ".") {
            var digits = 0
            while let digit = Self.number(&rest, 1) {
                if digits < 9 { fraction = fraction * 10 + digit }
                digits += 1
            }
            guard digits > 0 else { return nil }
            for _ in min(digits, 9)..<9 { fraction *= 10 }
        }
        var offset: Int64 = 0
        if !(Self.take(&rest, "Z") || Self.take(&rest, "z")) {
            let isBehind = Self.take(&rest, "-")
            guard isBehind || Self.take(&rest, "+"), let hours = Self.number(&rest, 2), hours < 24,
                Self.take(&rest, ":"), let minutes = Self.number(&rest, 2), minutes < 60
            else { return nil }
            offset = (hours * 60 + minutes) * (isBehind ? -60 : 60)
        }
        guard rest.isEmpty,
            let time = CivilTime.seconds(
                year: year,
                month: month,
                day: day,
                hour: hour,
                minute: minute,
                second: second
            )
        else { return nil }
        seconds = time - offset
        nanoseconds = fraction
    }

    private static func take(_ rest: inout ArraySlice<UInt8>, _ byte: Unicode.Scalar) -> Bool {
        guard rest.first == UInt8(ascii: byte) else { return false }
        rest.removeFirst()
        return true
    }

    private static func number(_ rest: inout ArraySlice<UInt8>, _ count: Int) -> Int64? {
        guard rest.count >= count else { return nil }
        var value: Int64 = 0
        for byte in rest.prefix(count) {
            guard (0x30...0x39).contains(byte) else { return nil }
            value = value * 10 + Int64(byte - 0x30)
        }
        rest = rest.dropFirst(count)
        return value
    }
}

/// The proleptic Gregorian calendar.
public enum CivilTime {
    /// Seconds since 1970 of a time in UTC; nil where calendar or clock have none such. A leap second (RFC 3339 §5.7) is the
    /// first of the next minute.
    ///
    /// - Parameter year: 0 to 9999.
    public static func seconds(
        year: Int64,
        month: Int64,
        day: Int64,
        hour: Int64,
        minute: Int64,
        second: Int64
    ) -> Int64? {
        guard (0...9999).contains(year), (1...12).contains(month), (1...days(in: month, of: year)).contains(day),
            (0...23).contains(hour), (0...59).contains(minute),
            (0...59).contains(second) || second == 60 && minute == 59
        else { return nil }
        // Years that begin in March, so that the leap day comes last.
        let shifted = month > 2 ? year : year - 1
        let era = (shifted >= 0 ? shifted : shifted - 399) / 400
        let yearOfEra = shifted - era * 400
        let dayOfYear = (153 * (month + (month > 2 ? -3 : 9)) + 2) / 5 + day - 1
        let dayOfEra = yearOfEra * 365 + yearOfEra / 4 - yearOfEra / 100 + dayOfYear
        return (era * 146_097 + dayOfEra - 719_468) * 86_400 + hour * 3_600 + minute * 60 + second
    }

    private static func days(in month: Int64, of year: Int64) -> Int64 {
        switch month {
        case 2: year % 4 == 0 && (year % 100 != 0 || year % 400 == 0) ? 29 : 28
        case 4, 6, 9, 11: 30
        default: 31
        }
    }
}
