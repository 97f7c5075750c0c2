extension MuxMachine {
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

    /// Whether a stream was reset, or is not there.
    public func isReset(_ stream: UInt32) -> Bool {
        guard let index = streams.index(forKey: stream) else { return true }
        return streams.values[index].termination != nil
    }

    // MARK: Frames from the peer

    mutating func receive(_ header: FrameHeader, payload: ArraySlice<UInt8>) throws(ProtocolViolation) {
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

    mutating func receiveOpen(
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
        streams.insert(entry, as: stream)
    }

    mutating func receiveSessionData(
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

    mutating func receiveData(
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

    mutating func complete(
        _ message: [UInt8],
        cost: Int,
        of stream: UInt32,
        at index: StreamTable.Index
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

    mutating func receiveWindow(_ stream: UInt32, payload: ArraySlice<UInt8>) throws(ProtocolViolation) {
        guard stream != 0 else { throw ProtocolViolation(.sessionStream, "WINDOW on stream 0, which has no credit") }
        guard payload.count == 4 else {
            throw ProtocolViolation(.badPayload, "WINDOW with \(payload.count) bytes instead of 4")
        }
        guard let index = try liveIndex(of: stream, frame: "WINDOW") else { return }
        let credit = Int(clamping: UInt32(bigEndianBytes: payload))
        guard credit > 0 else { throw ProtocolViolation(.badPayload, "WINDOW of 0 bytes on stream \(stream)") }
        guard streams.values[index].sendCredit + credit <= Int(Int32.max) else {
            throw ProtocolViolation(.creditOverflow, "credit of stream \(stream) exceeds 2147483647")
        }
        streams.values[index].sendCredit += credit
        resumeArrivals(of: stream, at: index)
        schedule(stream, at: index)
    }

    mutating func receiveEnd(_ stream: UInt32, payload: ArraySlice<UInt8>) throws(ProtocolViolation) {
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

    mutating func receiveReset(_ stream: UInt32, payload: ArraySlice<UInt8>) throws(ProtocolViolation) {
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

    mutating func receiveGoAway(_ stream: UInt32, payload: ArraySlice<UInt8>) throws(ProtocolViolation) {
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
        let unseen = streams.ids { id, stream in !stream.isIncoming && id > lastStream && !stream.isClosed }
        for id in unseen {
            guard let index = streams.index(forKey: id) else { continue }
            terminate(at: index, .refused, "going away")
            events.append(.reset(stream: id, code: .refused, reason: "going away"))
            removeIfDone(id)
        }
    }
}
