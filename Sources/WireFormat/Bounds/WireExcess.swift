/// What was left out of messages because it was beyond `WireBounds`.
public struct WireExcess: Sendable, Equatable {
    /// How often, by message and number of the field, as `Hello.14`: there are only so many fields.
    public private(set) var counts: [String: UInt64] = [:]

    /// Nothing was left out.
    public init() {}

    /// Nothing was left out.
    public var isEmpty: Bool { counts.isEmpty }

    /// All fields together.
    public var total: UInt64 { counts.values.reduce(0) { $0.clampedAdding($1) } }

    mutating func add(_ field: String) {
        counts[field, default: 0] = counts[field, default: 0].clampedAdding(1)
    }

    /// Adds what was left out of other messages.
    public mutating func add(_ other: WireExcess) {
        counts.merge(other.counts) { $0.clampedAdding($1) }
    }
}
