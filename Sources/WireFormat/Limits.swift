/// The sizes and counts that bound one link. docs/protocol.md lists them for other implementations.
public struct MuxLimits: Sendable, Equatable {
    /// The longest payload of one mux frame, in bytes: at 1 Mbit/s it occupies the link for 130 ms, which is the most
    /// that bulk data may delay a heartbeat.
    public static let maxFramePayloadBytes = 16 * 1024

    /// The credit every stream starts with, in bytes, in each direction.
    public static let initialCreditBytes = 256 * 1024

    /// The credit a stream that moves a workspace is given by its receiver as soon as it is open, in bytes: 40 MB/s over a
    /// way of 50 ms. What it may cost a hub is this, once for each transfer.
    public static let transferCreditBytes = 2 * 1024 * 1024

    /// The bytes waiting on such a stream from which on its sender is suspended; half of them let it go on.
    public static let transferHighWaterBytes = 512 * 1024

    /// What a DATA frame costs at least, in bytes of credit, so that tiny messages cannot pile up beyond
    /// `initialCreditBytes / minimumDataCostBytes` on a stream whose reader has stopped.
    public static let minimumDataCostBytes = 64

    /// The longest message after assembly, in bytes.
    public var maxMessageBytes: Int

    /// The longest WebSocket message accepted, in bytes. It bounds how much one message can make happen.
    public var maxTransmissionBytes: Int

    /// The number of streams the peer may hold open at once; one more is answered with RESET `refused`.
    public var maxIncomingStreams: Int

    /// The number of streams this side opens at once; one more throws `tooManyStreams`.
    public var maxOutgoingStreams: Int

    /// The bytes of unfinished messages held for all streams together; the stream that goes beyond is reset.
    public var maxAssemblingBytes: Int

    /// The bytes waiting on one stream from which on senders are suspended.
    public var sendHighWaterBytes: Int

    /// The bytes waiting on one stream from which on suspended senders go on.
    public var sendLowWaterBytes: Int

    /// Answers (RESET) owed to a peer that does not read; one more ends the session.
    public var maxPendingControlFrames: Int
    /// The order in which this side sends; the peer need not know.
    public var sendingOrder: SendingOrder

    /// Limits as given; the defaults keep what docs/protocol.md promises. Not checked: every limit must be
    /// positive, and `sendLowWaterBytes` below `sendHighWaterBytes`.
    public init(
        maxMessageBytes: Int = 4 * 1024 * 1024,
        maxTransmissionBytes: Int = 64 * 1024,
        maxIncomingStreams: Int = 256,
        maxOutgoingStreams: Int = 256,
        maxAssemblingBytes: Int = 16 * 1024 * 1024,
        sendHighWaterBytes: Int = 64 * 1024,
        sendLowWaterBytes: Int = 32 * 1024,
        maxPendingControlFrames: Int = 1024,
        sendingOrder: SendingOrder = .byPriority
    ) {
        self.maxMessageBytes = maxMessageBytes
        self.maxTransmissionBytes = maxTransmissionBytes
        self.maxIncomingStreams = maxIncomingStreams
        self.maxOutgoingStreams = maxOutgoingStreams
        self.maxAssemblingBytes = maxAssemblingBytes
        self.sendHighWaterBytes = sendHighWaterBytes
        self.sendLowWaterBytes = sendLowWaterBytes
        self.maxPendingControlFrames = maxPendingControlFrames
        self.sendingOrder = sendingOrder
    }
}
