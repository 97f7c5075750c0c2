/// The present, handed to a session machine by its driver.
public struct SessionTime: Sendable, Equatable {
    /// What every decision is made by.
    public var instant: ContinuousClock.Instant
    /// The wall clock in milliseconds since 1970, for people and for the other side's offset estimate only.
    public var unixMilliseconds: UInt64

    /// One moment on both clocks: read the two together.
    public init(instant: ContinuousClock.Instant, unixMilliseconds: UInt64) {
        self.instant = instant
        self.unixMilliseconds = unixMilliseconds
    }
}
