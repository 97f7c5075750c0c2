extension MuxMachine {
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
        isLastTransmissionPrecompressed = false
        var bytes: [UInt8] = []
        switch limits.sendingOrder {
        case .firstComeFirstServed where !controlOnly:
            appendControl(to: &bytes, maxBytes: maxBytes)
            appendArrivals(to: &bytes, maxBytes: maxBytes)
        case .byPriority, .firstComeFirstServed:
            appendSession(to: &bytes, maxBytes: maxBytes)
            appendControl(to: &bytes, maxBytes: maxBytes)
            guard !controlOnly else { break }
            appendOpens(to: &bytes, maxBytes: maxBytes)
            for priority in StreamPriority.allCases {
                appendTurns(of: priority, to: &bytes, maxBytes: maxBytes)
            }
        }
        return bytes.isEmpty ? nil : bytes
    }

    mutating func appendSession(to bytes: inout [UInt8], maxBytes: Int) {
        while appendSessionPart(to: &bytes, maxBytes: maxBytes) {}
    }

    /// Sends what fits of the session's first message. False when there is none or nothing fits.
    mutating func appendSessionPart(to bytes: inout [UInt8], maxBytes: Int) -> Bool {
        guard let message = sessionOutbound.first,
            let space = Self.space(in: bytes, maxBytes: maxBytes, wanted: message.count - sessionSentOfFirst)
        else { return false }
        let end = min(message.count, sessionSentOfFirst + space)
        let more = end < message.count
        MuxFrame.append(.data, more: more, stream: 0, payload: message[sessionSentOfFirst..<end], to: &bytes)
        guard !more else {
            sessionSentOfFirst = end
            return true
        }
        sessionSentOfFirst = 0
        _ = sessionOutbound.popFirst()
        sessionOutboundBytes -= MuxStream.cost(ofPayloadBytes: message.count)
        if isSessionSenderWaiting, sessionOutboundBytes <= limits.sendLowWaterBytes {
            isSessionSenderWaiting = false
            events.append(.writable(stream: 0))
        }
        return true
    }

    mutating func appendControl(to bytes: inout [UInt8], maxBytes: Int) {
        // No control frame is longer than this, so it is enough to look at the room once for each.
        let longestBytes = FrameHeader.encodedBytes + 8 + MuxFrame.maxReasonBytes
        while bytes.isEmpty || bytes.count + longestBytes <= maxBytes, let frame = control.popFirst() {
            frame.encode(into: &bytes)
        }
        while bytes.isEmpty || bytes.count + longestBytes <= maxBytes, let stream = grants.popFirst() {
            guard let index = streams.index(forKey: stream) else { continue }
            let credit = streams.values[index].takeGrant()
            if credit > 0 {
                MuxFrame.window(stream: stream, creditBytes: UInt32(clamping: credit)).encode(into: &bytes)
            }
        }
    }

    /// OPEN frames leave in the order of their ids whatever their class, because ids only grow on the wire.
    mutating func appendOpens(to bytes: inout [UInt8], maxBytes: Int) {
        while let stream = opens.first {
            guard let index = streams.index(forKey: stream), streams.values[index].termination == nil,
                let header = streams.values[index].outbound.first
            else {
                _ = opens.popFirst()
                continue
            }
            guard let space = Self.space(in: bytes, maxBytes: maxBytes, wanted: header.count) else { return }
            _ = opens.popFirst()
            appendPart(of: stream, at: index, space: space, asOpen: true, to: &bytes)
            schedule(stream, at: index)
        }
    }

    mutating func appendTurns(of priority: StreamPriority, to bytes: inout [UInt8], maxBytes: Int) {
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
                appendEnd(of: stream, at: index, to: &bytes)
                continue
            }
            let wanted = min(message.count - streams.values[index].sentOfFirst, streams.values[index].sendCredit)
            guard let space = Self.space(in: bytes, maxBytes: maxBytes, wanted: wanted) else { return }
            _ = turns[priority.rawValue].popFirst()
            streams.values[index].isScheduled = false
            appendPart(of: stream, at: index, space: space, asOpen: false, to: &bytes)
            schedule(stream, at: index)
        }
    }

    /// Sends what space and credit allow of the stream's first message. True when that was all of it.
    @discardableResult
    mutating func appendPart(
        of stream: UInt32,
        at index: StreamTable.Index,
        space: Int,
        asOpen: Bool,
        to bytes: inout [UInt8]
    ) -> Bool {
        let allowed = asOpen ? space : min(space, streams.values[index].sendCredit)
        guard let (part, more) = streams.values[index].takePart(maxBytes: allowed) else { return true }
        if asOpen {
            streams.values[index].isOpenSent = true
            // What was to be granted at once had to wait for the peer to know the stream.
            scheduleGrant(stream, at: index)
        } else {
            streams.values[index].sendCredit -= MuxStream.cost(ofPayloadBytes: part.count)
            if streams.values[index].isTransfer { isLastTransmissionPrecompressed = true }
        }
        MuxFrame.append(asOpen ? .open : .data, more: more, stream: stream, payload: part, to: &bytes)
        noteDrained(stream, at: index)
        return !more
    }

    mutating func appendEnd(of stream: UInt32, at index: StreamTable.Index, to bytes: inout [UInt8]) {
        streams.values[index].isEndSent = true
        MuxFrame.end(stream: stream).encode(into: &bytes)
        if streams.values[index].isPeerFinished { countClosed(streams.values[index]) }
        removeIfDone(stream)
    }

    /// The payload bytes that a next frame may have, or nil when it should wait for the next message.
    static func space(in bytes: [UInt8], maxBytes: Int, wanted: Int) -> Int? {
        let room = min(maxBytes - bytes.count - FrameHeader.encodedBytes, MuxLimits.maxFramePayloadBytes)
        guard !bytes.isEmpty else { return max(room, 1) }
        return room >= min(wanted, smallestUsefulPartBytes) ? room : nil
    }
}
