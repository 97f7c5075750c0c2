/// How large a number may be that comes from outside: over the link, from a bot, in a request, a file or a row.
///
/// They are applied where such a number is decoded, so that what is computed with it afterwards cannot leave 64 bits: any
/// thousand of them can be added, and each of them multiplied by a thousand.
public enum OutsideBounds {
    /// Counts, sizes, places, sequence numbers, times in milliseconds: to 2^53, which every reader of JSON keeps exactly.
    public static let count: ClosedRange<UInt64> = 0...(1 << 53)

    /// Of signed whole numbers.
    public static let integer: ClosedRange<Int64> = -(1 << 53)...(1 << 53)

    /// Of numbers with a fraction; one that is not a number is read as 0.
    public static let real: ClosedRange<Double> = -0x1p53...0x1p53

    /// Times in milliseconds since 1970 that have a date of four digits: the years 1 to 9999.
    public static let unixMilliseconds: ClosedRange<Int64> = -62_135_596_800_000...253_402_300_799_999

    /// No wait and no age that anybody means is longer than a hundred years.
    public static let duration: ClosedRange<Duration> = .seconds(-3_155_760_000)...(.seconds(3_155_760_000))
}
