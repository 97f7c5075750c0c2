// Streams over one ordered, reliable, message-keeping link (docs/protocol.md, "Streams"). No I/O, no time.
//
// A stream, seen from one side:
//
//                     open() / OPEN received
//                              │
//                              ▼
//            finish()        open        END received
//          ┌─────────────────┘  └─────────────────┐
//          ▼                                      ▼
//    sending done                          receiving done
//          │ END received                finish() │
//          └─────────────────►◄───────────────────┘
//                          closed   ◄── RESET in either direction, from every state
//
// An entry leaves the table when it is closed and the caller has released it. Frames for ids that are no longer in the
// table are dropped: they were under way when the stream ended. Frames for ids never opened break the protocol.

/// One side of a multiplexed link.
///
/// Feed every WebSocket message to `receive(_:)` and drain `nextEvent()`; send what `nextTransmission(maxBytes:)`
/// returns, one message at a time, or the sending order means nothing. Bytes from the peer never throw: a broken rule
/// becomes the event `violated`, after which the machine is dead.
public struct MuxMachine: Sendable {
    /// Which side this is. The agent opens odd stream ids, the hub even ones.
    public enum Role: Sendable {
        case agent
        case hub
    }

    /// What happened, in order.
    public enum Event: Sendable, Equatable {
        /// A whole message on stream 0.
        case sessionMessage([UInt8])
        /// The peer opened a stream. Answer with `setPriority` where `.commands` is not right.
        case opened(stream: UInt32, header: [UInt8])
        /// `read(stream:)` has something new to say.
        case readable(stream: UInt32)
        /// `send` was refused before and will be accepted now. 0 is the session.
        case writable(stream: UInt32)
        /// The stream ended in both directions, by the peer or by a limit.
        case reset(stream: UInt32, code: StreamResetCode, reason: String)
        /// The peer takes no new streams.
        case goAway(code: UInt32, lastStream: UInt32, reason: String)
        /// The peer broke a rule; close the link.
        case violated(ProtocolViolation)
    }

    /// The answer of `read(stream:)`.
    public enum ReadResult: Sendable, Equatable {
        case message([UInt8])
        /// Nothing yet; wait for `readable`.
        case pending
        /// The peer has finished and everything was read.
        case finished
        case reset(StreamResetCode, String)
    }

    /// The largest message `nextTransmission` makes unless told otherwise: one full frame.
    public static let defaultTransmissionBytes = FrameHeader.encodedBytes + MuxLimits.maxFramePayloadBytes

    /// A part shorter than this is not worth its header when it would only fill up a message.
    static let smallestUsefulPartBytes = 1024

    /// The side this machine plays; it decides which stream ids are its own.
    public let role: Role
    /// What this side accepts and queues at most; the peer may have limits of its own.
    public let limits: MuxLimits

    var streams = StreamTable()
    var nextLocalID: UInt32
    var highestPeerID: UInt32 = 0
    var incomingCount = 0
    var outgoingCount = 0
    var assemblingBytes = 0

    var events = FIFO<Event>()
    var sessionOutbound = FIFO<[UInt8]>()
    var sessionOutboundBytes = 0
    var sessionSentOfFirst = 0
    var isSessionSenderWaiting = false
    var sessionAssembling: [UInt8] = []
    var control = FIFO<MuxFrame>()
    var grants = FIFO<UInt32>()
    var opens = FIFO<UInt32>()
    var turns: [FIFO<UInt32>]
    /// Used instead of `opens` and `turns` where the order is `firstComeFirstServed`.
    var arrivals = FIFO<UInt32>()

    /// The message that `nextTransmission` made last holds content that is compressed already, or not worth it.
    public internal(set) var isLastTransmissionPrecompressed = false

    var isFailed = false
    /// This side has sent GOAWAY.
    public internal(set) var isGoingAway = false
    /// The peer has sent GOAWAY.
    public internal(set) var isPeerGoingAway = false

    /// A link without streams. The two ends must have different roles, or their stream ids collide.
    public init(role: Role, limits: MuxLimits = MuxLimits()) {
        self.role = role
        self.limits = limits
        nextLocalID = role == .agent ? 1 : 2
        turns = StreamPriority.allCases.map { _ in FIFO() }
    }

    /// Streams that are open in at least one direction.
    public var openStreamCount: Int { incomingCount + outgoingCount }

    /// The next thing that happened, or nil.
    public mutating func nextEvent() -> Event? { events.popFirst() }
}
