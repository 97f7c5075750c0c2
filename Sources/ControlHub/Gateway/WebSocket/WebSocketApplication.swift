import WebSocketKitLite

/// What is done with one upgraded connection.
///
/// `WebSocketServerHandler` makes all calls, one at a time, on the connection's event loop. None may block. When
/// something changes at another time (there is something to send, messages are wanted again, a deadline is earlier) the
/// application says so with its `WebSocketWaker`.
protocol WebSocketApplication: AnyObject, Sendable {
    /// The connection is open.
    func opened()

    /// Takes a message, in the order of arrival.
    func receive(_ message: WebSocketMessage)

    /// False makes the handler stop reading, and with it the peer. What had been read by then still comes.
    var wantsMessages: Bool { get }

    /// What to send next, or nil. Asked for only while the connection takes more.
    func next() -> WebSocketOutbound?

    /// Whether the connection has begun or ceased to take no more.
    func setBlocked(_ isBlocked: Bool)

    /// When `tick` is due; nil for never.
    var nextDeadline: ContinuousClock.Instant? { get }

    /// Acts on deadlines that have passed; an early call does nothing.
    func tick()

    /// The outcome. The last call.
    func closed(_ status: CloseStatus)
}

/// What an application hands to its connection.
enum WebSocketOutbound: Sendable {
    case message(WebSocketMessage)
    /// A message that is not to be compressed.
    case messageAsIs(WebSocketMessage)
    /// Nothing is sent after it.
    case close(CloseCode, reason: String)
}
