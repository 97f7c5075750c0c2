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
    private static let smallestUsefulPartBytes = 1024

    /// The side this machine plays; it decides which stream ids are its own.
    public let role: Role
    /// What this side accepts and queues at most; the peer may have limits of its own.
    public let limits: MuxLimits

    private var streams: [UInt32: MuxStream] = [:]
    private var nextLocalID: UInt32
    private var highestPeerID: UInt32 = 0
    private var incomingCount = 0
    private var outgoingCount = 0
    private var assemblingBytes = 0

    private var events = FIFO<Event>()
    private var sessionOutbound = FIFO<[UInt8]>()
    private var sessionOutboundBytes = 0
    private var sessionSentOfFirst = 0
    private var isSessionSenderWaiting = false
    private var sessionAssembling: [UInt8] = []
    private var control = FIFO<MuxFrame>()
    private var grants = FIFO<UInt32>()
    private var opens = FIFO<UInt32>()
    private var turns: [FIFO<UInt32>]

    private var isFailed = false
    /// This side has sent GOAWAY.
    public private(set) var isGoingAway = false
    /// The peer has sent GOAWAY.
    public private(set) var isPeerGoingAway = false

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

    // MARK: - Sending

    /// Opens a stream whose header is `header`.
    ///
    /// Throws `goingAway` after GOAWAY in either direction, `tooManyStreams`, `messageTooLarge`, `sessionClosed`.
    public mutating func open(
        header: [UInt8],
        priority: StreamPriority
    ) throws(WireFormatError) -> UInt32 {
        try checkAlive()
        guard !isGoingAway, !isPeerGoingAway else {
            throw WireFormatError(.goingAway, "the session is being drained and takes no new streams")
        }
        guard outgoingCount < limits.maxOutgoingStreams, nextLocalID < UInt32.max - 2 else {
            throw WireFormatError(.tooManyStreams, "\(outgoingCount) streams are open, which is the limit")
        }
        try checkSize(header)
        let id = nextLocalID
        nextLocalID += 2
        outgoingCount += 1
        streams[id] = MuxStream(outgoingWith: priority, header: header)
        opens.append(id)
        return id
    }

    /// Queues a message on a stream. Returns false, having queued nothing, while more than the high-water mark waits;
    /// the event `writable` says when to try again.
    ///
    /// Throws `streamReset`, `streamFinished`, `messageTooLarge`, `sessionClosed`.
    public mutating func send(_ message: [UInt8], on stream: UInt32) throws(WireFormatError) -> Bool {
        try checkAlive()
        try checkSize(message)
        guard let index = streams.index(forKey: stream) else { throw Self.unknownStream(stream) }
        if let termination = streams.values[index].termination { throw Self.resetError(stream, termination) }
        guard !streams.values[index].isSendFinished else {
            throw WireFormatError(.streamFinished, "stream \(stream) was finished, nothing more can be sent on it")
        }
        guard streams.values[index].outboundCost < limits.sendHighWaterBytes else {
            streams.values[index].isSenderWaiting = true
            return false
        }
        streams.values[index].enqueue(message)
        schedule(stream, at: index)
        return true
    }

    /// Queues a message on stream 0, ahead of every other stream and exempt from credit. False as for `send`.
    public mutating func sendSession(_ message: [UInt8]) throws(WireFormatError) -> Bool {
        try checkAlive()
        try checkSize(message)
        guard sessionOutboundBytes < limits.sendHighWaterBytes else {
            isSessionSenderWaiting = true
            return false
        }
        sessionOutbound.append(message)
        sessionOutboundBytes += MuxStream.cost(ofPayloadBytes: message.count)
        return true
    }

    /// Sends END once everything queued before has left. Repeating it does nothing.
    public mutating func finish(_ stream: UInt32) {
        guard let index = streams.index(forKey: stream), !streams.values[index].isSendFinished else { return }
        streams.values[index].isSendFinished = true
        schedule(stream, at: index)
    }

    /// Ends a stream in both directions at once; what was queued or unread is dropped. Does nothing on a closed stream.
    public mutating func reset(_ stream: UInt32, code: StreamResetCode, reason: String) {
        guard let index = streams.index(forKey: stream), !streams.values[index].isClosed else { return }
        let wasOpenSent = streams.values[index].isOpenSent
        terminate(at: index, code, reason)
        if wasOpenSent { queueControl(.reset(stream: stream, code: code, reason: reason)) }
        removeIfDone(stream)
    }

    /// The caller will not touch the stream again. One that this side has not finished is reset with `cancelled`; of
    /// one that it has, the rest that the peer sends is thrown away.
    public mutating func release(_ stream: UInt32) {
        guard let index = streams.index(forKey: stream) else { return }
        streams.values[index].isReleased = true
        if streams.values[index].isSendFinished {
            while let message = streams.values[index].inbound.popFirst() {
                grant(message.cost, to: stream, at: index)
            }
        } else {
            reset(stream, code: .cancelled, reason: "")
        }
        removeIfDone(stream)
    }

    /// Sets the sending order of a stream the peer opened. Call it before the first `send`.
    public mutating func setPriority(_ priority: StreamPriority, of stream: UInt32) {
        guard let index = streams.index(forKey: stream) else { return }
        streams.values[index].priority = priority
    }

    /// Tells the peer that no new streams are taken. Streams that are open go on; new ones are refused.
    public mutating func goAway(code: UInt32, reason: String) {
        guard !isGoingAway, !isFailed else { return }
        isGoingAway = true
        queueControl(.goAway(code: code, lastStream: highestPeerID, reason: reason))
    }

    /// The next WebSocket message to send, at most `maxBytes` long, or nil when there is nothing to send now.
    ///
    /// - Parameters:
    ///   - maxBytes: at least 1 KiB; one message of this size is the longest that a higher class waits for a lower.
    ///   - controlOnly: leaves out all streams but the session; for the last message before a close.
    public mutating func nextTransmission(
        maxBytes: Int = MuxMachine.defaultTransmissionBytes,
        controlOnly: Bool = false
    ) -> [UInt8]? {
        guard !isFailed else { return nil }
        var bytes: [UInt8] = []
        appendSession(to: &bytes, maxBytes: maxBytes)
        appendControl(to: &bytes, maxBytes: maxBytes)
        if !controlOnly {
            for priority in StreamPriority.allCases {
                appendTurns(of: priority, to: &bytes, maxBytes: maxBytes)
            }
        }
        return bytes.isEmpty ? nil : bytes
    }

    // MARK: - Receiving

    /// Takes one WebSocket message. Everything it causes is told by `nextEvent()`.
    public mutating func receive(_ message: [UInt8]) {
        guard !isFailed else { return }
        do throws(ProtocolViolation) {
            guard !message.isEmpty else { throw ProtocolViolation(.emptyMessage, "a message holds at least one frame") }
            guard message.count <= limits.maxTransmissionBytes else {
                throw ProtocolViolation(
                    .transmissionTooLong,
                    "a message has \(message.count) bytes, at most \(limits.maxTransmissionBytes) are allowed"
                )
            }
            var rest = message[...]
            while !rest.isEmpty {
                let header = try FrameHeader(decoding: rest)
                rest = rest.dropFirst(FrameHeader.encodedBytes)
                guard rest.count >= header.payloadBytes else {
                    throw ProtocolViolation(
                        .cutFrame,
                        "a frame announces \(header.payloadBytes) bytes, \(rest.count) are left in the message"
                    )
                }
                try receive(header, payload: rest.prefix(header.payloadBytes))
                rest = rest.dropFirst(header.payloadBytes)
            }
        } catch {
            fail(error)
        }
    }

    /// Ends the machine because of what a message meant, not how it was framed.
    public mutating func fail(_ violation: ProtocolViolation) {
        guard !isFailed else { return }
        isFailed = true
        events.append(.violated(violation))
    }

    /// Takes the next message of a stream and gives its credit back to the peer.
    public mutating func read(stream: UInt32) -> ReadResult {
        guard let index = streams.index(forKey: stream) else {
            return .reset(.cancelled, "stream \(stream) was released")
        }
        if let termination = streams.values[index].termination {
            return .reset(termination.code, termination.reason)
        }
        if let message = streams.values[index].inbound.popFirst() {
            streams.values[index].grantForAssembly()
            grant(message.cost, to: stream, at: index)
            return .message(message.bytes)
        }
        return streams.values[index].isPeerFinished ? .finished : .pending
    }

    // MARK: - Frames from the peer

    private mutating func receive(_ header: FrameHeader, payload: ArraySlice<UInt8>) throws(ProtocolViolation) {
        // A type from a later version: skipped, that is how the link can grow.
        guard let type = FrameType(rawValue: header.rawType) else { return }
        let more = header.flags & FrameHeader.moreFlag != 0
        switch type {
        case .open:
            try receiveOpen(header.stream, payload: payload, more: more)
        case .data:
            if header.stream == 0 {
                try receiveSessionData(payload, more: more)
            } else {
                try receiveData(header.stream, payload: payload, more: more)
            }
        case .window:
            try receiveWindow(header.stream, payload: payload)
        case .end:
            try receiveEnd(header.stream, payload: payload)
        case .reset:
            try receiveReset(header.stream, payload: payload)
        case .goAway:
            try receiveGoAway(header.stream, payload: payload)
        }
    }

    private mutating func receiveOpen(
        _ stream: UInt32,
        payload: ArraySlice<UInt8>,
        more: Bool
    ) throws(ProtocolViolation) {
        guard stream != 0 else { throw ProtocolViolation(.sessionStream, "OPEN on stream 0") }
        guard isPeers(stream) else {
            throw ProtocolViolation(.wrongParity, "OPEN of stream \(stream), whose ids belong to the other side")
        }
        guard stream > highestPeerID else {
            throw ProtocolViolation(.idReused, "OPEN of stream \(stream) after stream \(highestPeerID)")
        }
        if more, payload.isEmpty {
            throw ProtocolViolation(.emptyFragment, "an empty part of a message on stream \(stream)")
        }
        highestPeerID = stream
        if isGoingAway {
            queueControl(.reset(stream: stream, code: .refused, reason: "going away"))
            return
        }
        guard incomingCount < limits.maxIncomingStreams else {
            queueControl(
                .reset(stream: stream, code: .refused, reason: "at most \(limits.maxIncomingStreams) streams at once")
            )
            return
        }
        incomingCount += 1
        var entry = MuxStream(incomingWith: .commands)
        if more {
            entry.isAssembling = true
            entry.assembling = Array(payload)
            assemblingBytes += payload.count
        } else {
            entry.isHeaderComplete = true
            events.append(.opened(stream: stream, header: Array(payload)))
        }
        streams[stream] = entry
    }

    private mutating func receiveSessionData(
        _ payload: ArraySlice<UInt8>,
        more: Bool
    ) throws(ProtocolViolation) {
        try checkPart(payload, more: more, alreadyHeld: sessionAssembling.count, stream: 0)
        if more || !sessionAssembling.isEmpty {
            sessionAssembling.append(contentsOf: payload)
            guard !more else { return }
            events.append(.sessionMessage(sessionAssembling))
            sessionAssembling = []
        } else {
            events.append(.sessionMessage(Array(payload)))
        }
    }

    private mutating func receiveData(
        _ stream: UInt32,
        payload: ArraySlice<UInt8>,
        more: Bool
    ) throws(ProtocolViolation) {
        guard let index = try liveIndex(of: stream, frame: "DATA") else { return }
        guard !streams.values[index].isPeerFinished else {
            throw ProtocolViolation(.dataAfterEnd, "DATA on stream \(stream) after its END")
        }
        let held = streams.values[index].assembling.count
        try checkPart(payload, more: more, alreadyHeld: held, stream: stream)
        let cost = MuxStream.cost(ofPayloadBytes: payload.count)
        guard streams.values[index].spendReceiveCredit(cost) else {
            throw ProtocolViolation(
                .creditOverrun,
                "DATA on stream \(stream) costs \(cost), credit is \(streams.values[index].receiveCredit)"
            )
        }
        guard more || streams.values[index].isAssembling else {
            complete(Array(payload), cost: cost, of: stream, at: index)
            return
        }
        streams.values[index].isAssembling = true
        streams.values[index].assembling.append(contentsOf: payload)
        streams.values[index].assemblingCost += cost
        assemblingBytes += payload.count
        if more {
            guard assemblingBytes <= limits.maxAssemblingBytes else {
                let reason = "unfinished messages of all streams exceed \(limits.maxAssemblingBytes) bytes"
                if streams.values[index].isHeaderComplete {
                    events.append(.reset(stream: stream, code: .limitExceeded, reason: reason))
                } else {
                    // Nobody has heard of this stream, so nobody will release it.
                    streams.values[index].isReleased = true
                }
                reset(stream, code: .limitExceeded, reason: reason)
                return
            }
            streams.values[index].grantForAssembly()
            scheduleGrant(stream, at: index)
        } else {
            let message = streams.values[index].assembling
            let rest = streams.values[index].assemblingCost
            assemblingBytes -= message.count
            streams.values[index].assembling = []
            streams.values[index].isAssembling = false
            streams.values[index].assemblingCost = 0
            complete(message, cost: rest, of: stream, at: index)
        }
    }

    private mutating func complete(
        _ message: [UInt8],
        cost: Int,
        of stream: UInt32,
        at index: Dictionary<UInt32, MuxStream>.Index
    ) {
        guard streams.values[index].isHeaderComplete else {
            streams.values[index].isHeaderComplete = true
            grant(cost, to: stream, at: index)
            events.append(.opened(stream: stream, header: message))
            return
        }
        guard !streams.values[index].isReleased else {
            grant(cost, to: stream, at: index)
            return
        }
        streams.values[index].inbound.append((message, cost))
        if streams.values[index].inbound.count == 1 {
            events.append(.readable(stream: stream))
        }
    }

    private mutating func receiveWindow(_ stream: UInt32, payload: ArraySlice<UInt8>) throws(ProtocolViolation) {
        guard stream != 0 else { throw ProtocolViolation(.sessionStream, "WINDOW on stream 0, which has no credit") }
        guard payload.count == 4 else {
            throw ProtocolViolation(.badPayload, "WINDOW with \(payload.count) bytes instead of 4")
        }
        guard let index = try liveIndex(of: stream, frame: "WINDOW") else { return }
        let credit = Int(UInt32(bigEndianBytes: payload))
        guard credit > 0 else { throw ProtocolViolation(.badPayload, "WINDOW of 0 bytes on stream \(stream)") }
        guard streams.values[index].sendCredit + credit <= Int(Int32.max) else {
            throw ProtocolViolation(.creditOverflow, "credit of stream \(stream) exceeds 2147483647")
        }
        streams.values[index].sendCredit += credit
        schedule(stream, at: index)
    }

    private mutating func receiveEnd(_ stream: UInt32, payload: ArraySlice<UInt8>) throws(ProtocolViolation) {
        guard stream != 0 else { throw ProtocolViolation(.sessionStream, "END on stream 0") }
        guard payload.isEmpty else { throw ProtocolViolation(.badPayload, "END with a payload on stream \(stream)") }
        guard let index = try liveIndex(of: stream, frame: "END") else { return }
        guard !streams.values[index].isPeerFinished else {
            throw ProtocolViolation(.dataAfterEnd, "a second END on stream \(stream)")
        }
        guard !streams.values[index].isAssembling else {
            throw ProtocolViolation(.endInsideMessage, "END on stream \(stream) inside a message")
        }
        streams.values[index].isPeerFinished = true
        if streams.values[index].isEndSent { countClosed(streams.values[index]) }
        events.append(.readable(stream: stream))
        removeIfDone(stream)
    }

    private mutating func receiveReset(_ stream: UInt32, payload: ArraySlice<UInt8>) throws(ProtocolViolation) {
        guard stream != 0 else { throw ProtocolViolation(.sessionStream, "RESET on stream 0") }
        guard payload.count >= 4 else {
            throw ProtocolViolation(.badPayload, "RESET with \(payload.count) bytes, at least 4 are needed")
        }
        guard let index = try liveIndex(of: stream, frame: "RESET"), !streams.values[index].isClosed else { return }
        let code = StreamResetCode(rawValue: UInt32(bigEndianBytes: payload.prefix(4)))
        let reason = String(decoding: payload.dropFirst(4), as: UTF8.self)
        let wasAnnounced = streams.values[index].isHeaderComplete
        terminate(at: index, code, reason)
        if wasAnnounced {
            events.append(.reset(stream: stream, code: code, reason: reason))
        } else {
            // Nobody has heard of this stream, so nobody will release it.
            streams.values[index].isReleased = true
        }
        removeIfDone(stream)
    }

    private mutating func receiveGoAway(_ stream: UInt32, payload: ArraySlice<UInt8>) throws(ProtocolViolation) {
        guard stream == 0 else { throw ProtocolViolation(.sessionStream, "GOAWAY on stream \(stream) instead of 0") }
        guard payload.count >= 8 else {
            throw ProtocolViolation(.badPayload, "GOAWAY with \(payload.count) bytes, at least 8 are needed")
        }
        isPeerGoingAway = true
        let code = UInt32(bigEndianBytes: payload.prefix(4))
        let lastStream = UInt32(bigEndianBytes: payload.dropFirst(4).prefix(4))
        let reason = String(decoding: payload.dropFirst(8), as: UTF8.self)
        events.append(.goAway(code: code, lastStream: lastStream, reason: reason))
        // The peer never saw these and will refuse them: say so now.
        let unseen = streams.filter { !$0.value.isIncoming && $0.key > lastStream && !$0.value.isClosed }.keys.sorted()
        for id in unseen {
            guard let index = streams.index(forKey: id) else { continue }
            terminate(at: index, .refused, "going away")
            events.append(.reset(stream: id, code: .refused, reason: "going away"))
            removeIfDone(id)
        }
    }

    // MARK: - Gathering

    private mutating func appendSession(to bytes: inout [UInt8], maxBytes: Int) {
        while let message = sessionOutbound.first {
            guard let space = Self.space(in: bytes, maxBytes: maxBytes, wanted: message.count - sessionSentOfFirst)
            else { return }
            let end = min(message.count, sessionSentOfFirst + space)
            let more = end < message.count
            MuxFrame.append(.data, more: more, stream: 0, payload: message[sessionSentOfFirst..<end], to: &bytes)
            if more {
                sessionSentOfFirst = end
            } else {
                sessionSentOfFirst = 0
                _ = sessionOutbound.popFirst()
                sessionOutboundBytes -= MuxStream.cost(ofPayloadBytes: message.count)
                if isSessionSenderWaiting, sessionOutboundBytes <= limits.sendLowWaterBytes {
                    isSessionSenderWaiting = false
                    events.append(.writable(stream: 0))
                }
            }
        }
    }

    private mutating func appendControl(to bytes: inout [UInt8], maxBytes: Int) {
        // No control frame is longer than this, so it is enough to look at the room once for each.
        let longestBytes = FrameHeader.encodedBytes + 8 + MuxFrame.maxReasonBytes
        while bytes.isEmpty || bytes.count + longestBytes <= maxBytes, let frame = control.popFirst() {
            frame.encode(into: &bytes)
        }
        while bytes.isEmpty || bytes.count + longestBytes <= maxBytes, let stream = grants.popFirst() {
            guard let index = streams.index(forKey: stream) else { continue }
            let credit = streams.values[index].takeGrant()
            if credit > 0 {
                MuxFrame.window(stream: stream, creditBytes: UInt32(credit)).encode(into: &bytes)
            }
        }
        // OPEN frames leave in the order of their ids whatever their class, because ids only grow on the wire.
        while let stream = opens.first {
            guard let index = streams.index(forKey: stream), streams.values[index].termination == nil,
                let header = streams.values[index].outbound.first
            else {
                _ = opens.popFirst()
                continue
            }
            guard let space = Self.space(in: bytes, maxBytes: maxBytes, wanted: header.count) else { return }
            _ = opens.popFirst()
            guard let (part, more) = streams.values[index].takePart(maxBytes: space) else { continue }
            streams.values[index].isOpenSent = true
            MuxFrame.append(.open, more: more, stream: stream, payload: part, to: &bytes)
            noteDrained(stream, at: index)
            schedule(stream, at: index)
        }
    }

    private mutating func appendTurns(of priority: StreamPriority, to bytes: inout [UInt8], maxBytes: Int) {
        while let stream = turns[priority.rawValue].first {
            guard let index = streams.index(forKey: stream), streams.values[index].isReadyToSend else {
                _ = turns[priority.rawValue].popFirst()
                if let index = streams.index(forKey: stream) { streams.values[index].isScheduled = false }
                continue
            }
            guard let message = streams.values[index].outbound.first else {
                guard bytes.count + FrameHeader.encodedBytes <= maxBytes else { return }
                _ = turns[priority.rawValue].popFirst()
                streams.values[index].isScheduled = false
                streams.values[index].isEndSent = true
                MuxFrame.end(stream: stream).encode(into: &bytes)
                if streams.values[index].isPeerFinished { countClosed(streams.values[index]) }
                removeIfDone(stream)
                continue
            }
            let wanted = min(message.count - streams.values[index].sentOfFirst, streams.values[index].sendCredit)
            guard let space = Self.space(in: bytes, maxBytes: maxBytes, wanted: wanted) else { return }
            _ = turns[priority.rawValue].popFirst()
            streams.values[index].isScheduled = false
            let allowed = min(space, streams.values[index].sendCredit)
            guard let (part, more) = streams.values[index].takePart(maxBytes: allowed) else { continue }
            streams.values[index].sendCredit -= MuxStream.cost(ofPayloadBytes: part.count)
            MuxFrame.append(.data, more: more, stream: stream, payload: part, to: &bytes)
            noteDrained(stream, at: index)
            schedule(stream, at: index)
        }
    }

    /// The payload bytes that a next frame may have, or nil when it should wait for the next message.
    private static func space(in bytes: [UInt8], maxBytes: Int, wanted: Int) -> Int? {
        let room = min(maxBytes - bytes.count - FrameHeader.encodedBytes, MuxLimits.maxFramePayloadBytes)
        guard !bytes.isEmpty else { return max(room, 1) }
        return room >= min(wanted, smallestUsefulPartBytes) ? room : nil
    }

    // MARK: - Bookkeeping

    private func isPeers(_ stream: UInt32) -> Bool { (stream % 2 == 0) == (role == .agent) }

    /// The stream's entry; nil if it was closed earlier, so that the frame is to be dropped.
    private func liveIndex(
        of stream: UInt32,
        frame: String
    ) throws(ProtocolViolation) -> Dictionary<UInt32, MuxStream>.Index? {
        if let index = streams.index(forKey: stream) {
            guard streams.values[index].isOpenSent || streams.values[index].termination != nil else {
                throw ProtocolViolation(.unopenedStream, "\(frame) on stream \(stream), which was never opened")
            }
            return streams.values[index].termination == nil ? index : nil
        }
        guard isPeers(stream) ? stream <= highestPeerID : stream < nextLocalID else {
            throw ProtocolViolation(.unopenedStream, "\(frame) on stream \(stream), which was never opened")
        }
        return nil
    }

    private func checkPart(
        _ payload: ArraySlice<UInt8>,
        more: Bool,
        alreadyHeld: Int,
        stream: UInt32
    ) throws(ProtocolViolation) {
        if more, payload.isEmpty {
            throw ProtocolViolation(.emptyFragment, "an empty part of a message on stream \(stream)")
        }
        guard alreadyHeld + payload.count <= limits.maxMessageBytes else {
            throw ProtocolViolation(
                .messageTooLong,
                "a message on stream \(stream) exceeds \(limits.maxMessageBytes) bytes"
            )
        }
    }

    private func checkAlive() throws(WireFormatError) {
        guard !isFailed else { throw WireFormatError(.sessionClosed, "the session ended with a protocol error") }
    }

    private func checkSize(_ message: [UInt8]) throws(WireFormatError) {
        guard message.count <= limits.maxMessageBytes else {
            throw WireFormatError(
                .messageTooLarge,
                "a message of \(message.count) bytes exceeds the limit of \(limits.maxMessageBytes)"
            )
        }
    }

    private static func unknownStream(_ stream: UInt32) -> WireFormatError {
        WireFormatError(.streamReset, "stream \(stream) was released", resetCode: .cancelled)
    }

    static func resetError(_ stream: UInt32, _ termination: MuxStream.Termination) -> WireFormatError {
        let reason = termination.reason.isEmpty ? "" : ": \(termination.reason)"
        return WireFormatError(
            .streamReset,
            "stream \(stream) was reset (\(termination.code))\(reason)",
            resetCode: termination.code
        )
    }

    private mutating func schedule(_ stream: UInt32, at index: Dictionary<UInt32, MuxStream>.Index) {
        guard streams.values[index].isReadyToSend, !streams.values[index].isScheduled else { return }
        streams.values[index].isScheduled = true
        turns[streams.values[index].priority.rawValue].append(stream)
    }

    private mutating func noteDrained(_ stream: UInt32, at index: Dictionary<UInt32, MuxStream>.Index) {
        guard streams.values[index].isSenderWaiting,
            streams.values[index].outboundCost <= limits.sendLowWaterBytes
        else { return }
        streams.values[index].isSenderWaiting = false
        events.append(.writable(stream: stream))
    }

    private mutating func grant(_ cost: Int, to stream: UInt32, at index: Dictionary<UInt32, MuxStream>.Index) {
        streams.values[index].pendingGrant += cost
        scheduleGrant(stream, at: index)
    }

    /// Half a window at a time: few WINDOW frames, and the sender never runs dry while the reader keeps up.
    private mutating func scheduleGrant(_ stream: UInt32, at index: Dictionary<UInt32, MuxStream>.Index) {
        guard streams.values[index].pendingGrant >= MuxLimits.initialCreditBytes / 2,
            !streams.values[index].isGrantScheduled, !streams.values[index].isPeerFinished
        else { return }
        streams.values[index].isGrantScheduled = true
        grants.append(stream)
    }

    private mutating func queueControl(_ frame: MuxFrame) {
        guard control.count < limits.maxPendingControlFrames else {
            fail(ProtocolViolation(.controlFlood, "\(control.count) answers are owed and the peer does not read them"))
            return
        }
        control.append(frame)
    }

    private mutating func terminate(
        at index: Dictionary<UInt32, MuxStream>.Index,
        _ code: StreamResetCode,
        _ reason: String
    ) {
        assemblingBytes -= streams.values[index].assembling.count
        countClosed(streams.values[index])
        streams.values[index].terminate(code, reason)
    }

    private mutating func countClosed(_ stream: MuxStream) {
        if stream.isIncoming { incomingCount -= 1 } else { outgoingCount -= 1 }
    }

    private mutating func removeIfDone(_ stream: UInt32) {
        guard let index = streams.index(forKey: stream), streams.values[index].isReleased,
            streams.values[index].isClosed
        else { return }
        streams.remove(at: index)
    }
}
