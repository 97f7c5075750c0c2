extension MuxMachine {
    func isPeers(_ stream: UInt32) -> Bool { (stream % 2 == 0) == (role == .agent) }

    /// The stream's entry; nil if it was closed earlier, so that the frame is to be dropped.
    func liveIndex(
        of stream: UInt32,
        frame: String
    ) throws(ProtocolViolation) -> StreamTable.Index? {
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

    func checkPart(
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

    func checkAlive() throws(WireFormatError) {
        guard !isFailed else { throw WireFormatError(.sessionClosed, "the session ended with a protocol error") }
    }

    func checkSize(_ message: [UInt8]) throws(WireFormatError) {
        guard message.count <= limits.maxMessageBytes else {
            throw WireFormatError(
                .messageTooLarge,
                "a message of \(message.count) bytes exceeds the limit of \(limits.maxMessageBytes)"
            )
        }
    }

    static func unknownStream(_ stream: UInt32) -> WireFormatError {
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

    mutating func schedule(_ stream: UInt32, at index: StreamTable.Index) {
        guard limits.sendingOrder == .byPriority, streams.values[index].isReadyToSend,
            !streams.values[index].isScheduled
        else { return }
        streams.values[index].isScheduled = true
        turns[streams.values[index].priority.rawValue].append(stream)
    }

    mutating func noteDrained(_ stream: UInt32, at index: StreamTable.Index) {
        let lowWaterBytes =
            streams.values[index].isTransfer ? MuxLimits.transferHighWaterBytes / 2 : limits.sendLowWaterBytes
        guard streams.values[index].isSenderWaiting, streams.values[index].outboundCost <= lowWaterBytes
        else { return }
        streams.values[index].isSenderWaiting = false
        events.append(.writable(stream: stream))
    }

    mutating func grant(_ cost: Int, to stream: UInt32, at index: StreamTable.Index) {
        streams.values[index].pendingGrant += cost
        scheduleGrant(stream, at: index)
    }

    /// Half a window at a time: few WINDOW frames, and the sender never runs dry while the reader keeps up.
    mutating func scheduleGrant(_ stream: UInt32, at index: StreamTable.Index) {
        guard streams.values[index].pendingGrant >= MuxLimits.initialCreditBytes / 2,
            !streams.values[index].isGrantScheduled, !streams.values[index].isPeerFinished
        else { return }
        streams.values[index].isGrantScheduled = true
        grants.append(stream)
    }

    mutating func queueControl(_ frame: MuxFrame) {
        guard control.count < limits.maxPendingControlFrames else {
            fail(ProtocolViolation(.controlFlood, "\(control.count) answers are owed and the peer does not read them"))
            return
        }
        control.append(frame)
    }

    mutating func terminate(
        at index: StreamTable.Index,
        _ code: StreamResetCode,
        _ reason: String
    ) {
        assemblingBytes -= streams.values[index].assembling.count
        countClosed(streams.values[index])
        streams.values[index].terminate(code, reason)
    }

    mutating func countClosed(_ stream: MuxStream) {
        if stream.isIncoming { incomingCount -= 1 } else { outgoingCount -= 1 }
    }

    mutating func removeIfDone(_ stream: UInt32) {
        guard let index = streams.index(forKey: stream), streams.values[index].isReleased,
            streams.values[index].isClosed
        else { return }
        streams.remove(at: index)
    }
}
