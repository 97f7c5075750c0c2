/// Estimates how far another machine's wall clock is ahead of ours, from messages that carry its time.
///
/// The error of one sample is at most half its round trip, so of the last few samples the one with the shortest round
/// trip counts. Both figures are for people; nothing is decided by them.
public struct ClockOffsetEstimator: Sendable, Equatable {
    private struct Sample: Sendable, Equatable {
        var offsetMilliseconds: Int64
        var roundTrip: Duration
    }

    /// Enough to ride out a burst of queueing, few enough to follow a clock that is being corrected.
    private static let keptSamples = 8

    private var samples: [Sample] = []

    /// Without samples, and so without an offset.
    public init() {}

    /// The other clock minus ours, in milliseconds; nil before the first sample.
    public var offsetMilliseconds: Int64? { samples.min { $0.roundTrip < $1.roundTrip }?.offsetMilliseconds }

    /// Adds a message that said `remoteUnixMilliseconds` and came in at `localUnixMilliseconds`, half of `roundTrip`
    /// after it was written.
    public mutating func add(remoteUnixMilliseconds: UInt64, localUnixMilliseconds: UInt64, roundTrip: Duration) {
        // A peer may claim any number: one beyond the year 10000 says nothing worth computing with.
        let latest: UInt64 = 253_402_300_800_000
        guard remoteUnixMilliseconds > 0, remoteUnixMilliseconds < latest, localUnixMilliseconds < latest,
            roundTrip >= .zero, roundTrip < .seconds(3600)
        else { return }
        let halfTripMilliseconds = roundTrip.wholeMicroseconds / 2000
        let offset =
            Int64(clamping: remoteUnixMilliseconds) + halfTripMilliseconds - Int64(clamping: localUnixMilliseconds)
        samples.append(Sample(offsetMilliseconds: offset, roundTrip: roundTrip))
        if samples.count > Self.keptSamples {
            samples.removeFirst()
        }
    }
}
