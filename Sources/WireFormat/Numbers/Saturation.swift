// Conversions and sums that end at the largest or smallest value where plain ones end the process. For numbers from
// outside; the conversion between whole numbers that does so is Swift's own `init(clamping:)`.

extension FixedWidthInteger {
    /// The whole part of a real number; the nearest value there is where it does not fit, and 0 of what is no number.
    public init(saturating value: Double) {
        guard Defence.numberBounds.isUp else {
            self = Self(value)
            return
        }
        guard !value.isNaN else {
            self = 0
            return
        }
        // The limits as real numbers may lie just beyond what fits.
        if value >= Double(Self.max) {
            self = .max
        } else if value <= Double(Self.min) {
            self = .min
        } else {
            self = Self(value)  // fits: compared with both limits above
        }
    }

    /// A number written in digits alone, of at most `OutsideBounds.count`; nil for anything else.
    public init?(decimal text: some StringProtocol) {
        // No sign, no blank, no other script's digits.
        guard !text.isEmpty, text.utf8.allSatisfy({ (0x30...0x39).contains($0) }) else { return nil }
        // fits: text, which is nil where it does not.
        guard let number = UInt64(text), OutsideBounds.count.contains(number) else { return nil }
        self.init(exactly: number)
    }

    /// The sum, or the limit it would go beyond.
    public func clampedAdding(_ other: Self) -> Self {
        guard Defence.numberBounds.isUp else { return self + other }
        let (sum, hasOverflowed) = addingReportingOverflow(other)
        return hasOverflowed ? (other < 0 ? .min : .max) : sum
    }

    /// The difference, or the limit it would go beyond: of counts, 0.
    public func clampedSubtracting(_ other: Self) -> Self {
        guard Defence.numberBounds.isUp else { return self - other }
        let (difference, hasOverflowed) = subtractingReportingOverflow(other)
        return hasOverflowed ? (other < 0 ? .max : .min) : difference
    }

    /// The product, or the limit it would go beyond.
    public func clampedMultiplied(by other: Self) -> Self {
        guard Defence.numberBounds.isUp else { return self * other }
        let (product, hasOverflowed) = multipliedReportingOverflow(by: other)
        return hasOverflowed ? ((self < 0) == (other < 0) ? .max : .min) : product
    }
}

extension Duration {
    /// So many seconds, within `OutsideBounds.duration`.
    public static func seconds(clamping value: some BinaryInteger) -> Duration {
        Duration.seconds(Int64(clamping: value)).bounded  // fits: durations have 128 bits
    }

    /// So many seconds, within `OutsideBounds.duration`; none of what is no number.
    public static func seconds(clamping value: Double) -> Duration {
        let limit = Double(OutsideBounds.duration.upperBound.components.seconds)
        return value.isNaN ? .zero : .seconds(min(max(value, -limit), limit))  // fits: within the limit
    }

    /// So many milliseconds, within `OutsideBounds.duration`.
    public static func milliseconds(clamping value: some BinaryInteger) -> Duration {
        Duration.milliseconds(Int64(clamping: value)).bounded  // fits: as above
    }

    /// So many microseconds, within `OutsideBounds.duration`.
    public static func microseconds(clamping value: some BinaryInteger) -> Duration {
        Duration.microseconds(Int64(clamping: value)).bounded  // fits: as above
    }

    /// Whole milliseconds, rounded toward zero; saturates.
    public var wholeMilliseconds: Int64 { whole(perSecond: 1000) }

    /// Whole microseconds, rounded toward zero; saturates.
    public var wholeMicroseconds: Int64 { whole(perSecond: 1_000_000) }

    private func whole(perSecond units: Int64) -> Int64 {
        let (seconds, attoseconds) = components
        return seconds.clampedMultiplied(by: units)
            .clampedAdding(attoseconds / (1_000_000_000_000_000_000 / units))
    }

    private var bounded: Duration {
        guard Defence.numberBounds.isUp else { return self }
        return min(max(self, OutsideBounds.duration.lowerBound), OutsideBounds.duration.upperBound)
    }
}
