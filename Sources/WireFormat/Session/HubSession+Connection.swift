/// For the owner of the connection: these calls come one at a time, the first of them `start()`.
extension HubSession {
    /// Begins the wait for Hello.
    public func start() { channel.start() }

    /// Takes one WebSocket message. While `isTakingMessages` is false afterwards, stop reading.
    public func receive(_ message: [UInt8]) { channel.receive(message) }

    /// False while too many events wait for the program, or nobody takes them.
    public var isTakingMessages: Bool { channel.isTakingMessages }

    /// What to do now, or nil. Ask whenever the connection can take a message and not before, because what is asked for
    /// later can be more urgent.
    public func nextInstruction() -> SessionInstruction? { channel.nextInstruction() }

    /// Tells whether the connection takes messages at present. Ten seconds without end the session.
    public func setBlocked(_ isBlocked: Bool) { channel.setBlocked(isBlocked) }

    /// When `tick()` is due; nil for never.
    public var nextDeadline: ContinuousClock.Instant? { channel.nextDeadline }

    /// Acts on deadlines that have passed; an early call does nothing.
    public func tick() { channel.tick() }

    /// The connection has ended: by the peer's close frame, or without one for the reason given.
    public func connectionEnded(_ closure: TransportClosure?, reason: String = "") {
        channel.connectionEnded(closure, reason: reason)
    }

    /// For the program: returns when the session has ended. Cancellation ends it, and the connection with it.
    public func ended() async -> SessionEnding { await channel.ended() }
}
