/// The two directions of one stream, and their credit.
///
/// Sending: `outbound` holds whole messages, the first of which may be partly sent. `sendCredit` is what the peer still
/// takes. Receiving: `assembling` is the message in progress, `inbound` holds whole ones, `receiveCredit` is what the
/// peer may still send. At any time `receiveCredit + pendingGrant + cost of all that is held` is the initial credit
/// plus what was granted early for a message too long for one window.
struct MuxStream: Sendable {
    struct Termination: Sendable, Equatable {
        var code: StreamResetCode
        var reason: String
    }

    let isIncoming: Bool
    /// Of a stream opened here.
    let share: StreamShare?
    var priority: StreamPriority
    /// Moves much, and its senders compress by themselves where that is worth it.
    var isTransfer = false

    // Sending.
    var outbound = FIFO<[UInt8]>()
    var sentOfFirst = 0
    var outboundCost = 0
    var sendCredit = MuxLimits.initialCreditBytes
    var isOpenSent: Bool
    var isSendFinished = false
    var isEndSent = false
    var isScheduled = false
    var isSenderWaiting = false
    /// Places in the queue of arrivals that came up while there was no credit.
    var arrivalsWithoutCredit = 0

    // Receiving.
    var isHeaderComplete: Bool
    var isAssembling = false
    var assembling: [UInt8] = []
    /// The cost of what is being assembled that was not granted back yet.
    var assemblingCost = 0
    var inbound = FIFO<(bytes: [UInt8], cost: Int)>()
    var receiveCredit = MuxLimits.initialCreditBytes
    var pendingGrant = 0
    var isGrantScheduled = false
    var isPeerFinished = false

    /// Set once the stream was reset by either side.
    var termination: Termination?
    /// The caller holds no handle any more: what still arrives is thrown away.
    var isReleased = false

    /// A stream the peer opened.
    init(incomingWith priority: StreamPriority) {
        isIncoming = true
        share = nil
        self.priority = priority
        isOpenSent = true
        isHeaderComplete = false
    }

    /// A stream opened here; the header is its first outbound message.
    init(outgoingWith priority: StreamPriority, header: [UInt8], share: StreamShare? = nil) {
        isIncoming = false
        self.share = share
        self.priority = priority
        isOpenSent = false
        isHeaderComplete = true
        enqueue(header)
    }

    /// Nothing more will cross the link for this stream.
    var isClosed: Bool { termination != nil || (isEndSent && isPeerFinished) }

    /// There is something to send that credit allows now.
    var isReadyToSend: Bool {
        guard isOpenSent, termination == nil, !isEndSent else { return false }
        return outbound.isEmpty ? isSendFinished : sendCredit >= MuxLimits.minimumDataCostBytes
    }

    static func cost(ofPayloadBytes count: Int) -> Int { max(count, MuxLimits.minimumDataCostBytes) }

    // MARK: Sending

    mutating func enqueue(_ message: [UInt8]) {
        outbound.append(message)
        outboundCost += Self.cost(ofPayloadBytes: message.count)
    }

    /// Takes the next part of the first message, at most `maxBytes` long. `more` says whether the message goes on.
    mutating func takePart(maxBytes: Int) -> (part: ArraySlice<UInt8>, more: Bool)? {
        guard let message = outbound.first else { return nil }
        let end = min(message.count, sentOfFirst + maxBytes)
        let part = message[sentOfFirst..<end]
        guard end == message.count else {
            sentOfFirst = end
            return (part, true)
        }
        _ = outbound.popFirst()
        outboundCost -= Self.cost(ofPayloadBytes: message.count)
        sentOfFirst = 0
        return (part, false)
    }

    // MARK: Receiving

    /// Takes credit for one DATA frame. False if the peer had not that much.
    mutating func spendReceiveCredit(_ cost: Int) -> Bool {
        guard cost <= receiveCredit else { return false }
        receiveCredit -= cost
        return true
    }

    /// Gives credit back for a message still being assembled, provided its reader has taken all that came before;
    /// otherwise a message longer than the window could never arrive.
    mutating func grantForAssembly() {
        guard isAssembling, inbound.isEmpty else { return }
        pendingGrant += assemblingCost
        assemblingCost = 0
    }

    /// The credit to send in a WINDOW frame now, moved to the peer's side of the account.
    mutating func takeGrant() -> Int {
        isGrantScheduled = false
        guard !isPeerFinished, termination == nil else { return 0 }
        let grant = pendingGrant
        pendingGrant = 0
        receiveCredit += grant
        return grant
    }

    /// Frees everything held; the stream is over in both directions.
    mutating func terminate(_ code: StreamResetCode, _ reason: String) {
        termination = Termination(code: code, reason: reason)
        outbound.removeAll()
        outboundCost = 0
        sentOfFirst = 0
        inbound.removeAll()
        assembling = []
        isAssembling = false
        assemblingCost = 0
    }
}
