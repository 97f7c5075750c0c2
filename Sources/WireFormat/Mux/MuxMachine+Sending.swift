extension MuxMachine {
    /// Opens a stream whose header is `header`.
    ///
    /// Throws `goingAway` after GOAWAY in either direction, `tooManyStreams` also where as many of its share are open as may be,
    /// `messageTooLarge`, `sessionClosed`.
    public mutating func open(
        header: [UInt8],
        priority: StreamPriority,
        share: StreamShare? = nil
    ) throws(WireFormatError) -> UInt32 {
        try checkAlive()
        guard !isGoingAway, !isPeerGoingAway else {
            throw WireFormatError(.goingAway, "the session is being drained and takes no new streams")
        }
        guard outgoingCount < limits.maxOutgoingStreams, nextLocalID < UInt32.max - 2 else {
            throw WireFormatError(.tooManyStreams, "\(outgoingCount) streams are open, which is the limit")
        }
        if let share {
            let count = streams.values.count { $0.share == share }
            guard count < share.maxStreams else {
                throw WireFormatError(.tooManyStreams, "\(count) \(share.name) are open, which is the limit")
            }
        }
        try checkSize(header)
        let id = nextLocalID
        nextLocalID += 2
        outgoingCount += 1
        streams.insert(MuxStream(outgoingWith: priority, header: header, share: share), as: id)
        switch limits.sendingOrder {
        case .byPriority: opens.append(id)
        case .firstComeFirstServed: noteArrival(on: id)
        }
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
        let highWaterBytes =
            streams.values[index].isTransfer ? MuxLimits.transferHighWaterBytes : limits.sendHighWaterBytes
        guard streams.values[index].outboundCost < highWaterBytes else {
            streams.values[index].isSenderWaiting = true
            return false
        }
        streams.values[index].enqueue(message)
        noteArrival(on: stream)
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
        noteArrival(on: 0)
        return true
    }

    /// Sends END once everything queued before has left. Repeating it does nothing.
    public mutating func finish(_ stream: UInt32) {
        guard let index = streams.index(forKey: stream), !streams.values[index].isSendFinished else { return }
        streams.values[index].isSendFinished = true
        noteArrival(on: stream)
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

    /// Says that the stream moves much: more of it may be under way and wait here than of others, in both directions, so
    /// that a long way does not slow it down; and who sends on it compresses by itself, so that the link need not try.
    public mutating func setTransfer(_ stream: UInt32) {
        guard let index = streams.index(forKey: stream), !streams.values[index].isTransfer else { return }
        streams.values[index].isTransfer = true
        streams.values[index].pendingGrant += MuxLimits.transferCreditBytes - MuxLimits.initialCreditBytes
        if streams.values[index].isOpenSent { scheduleGrant(stream, at: index) }
    }

    /// Tells the peer that no new streams are taken. Streams that are open go on; new ones are refused.
    public mutating func goAway(code: UInt32, reason: String) {
        guard !isGoingAway, !isFailed else { return }
        isGoingAway = true
        queueControl(.goAway(code: code, lastStream: highestPeerID, reason: reason))
    }
}
