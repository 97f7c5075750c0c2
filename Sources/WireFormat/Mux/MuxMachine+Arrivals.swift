// `SendingOrder.firstComeFirstServed`: one queue for the session and all streams. `arrivals` names the stream of each
// header, message and END in the order they were queued; 0 is the session.

extension MuxMachine {
    mutating func noteArrival(on stream: UInt32) {
        guard limits.sendingOrder == .firstComeFirstServed else { return }
        arrivals.append(stream)
    }

    /// What waited for credit has lost its place and queues again.
    mutating func resumeArrivals(of stream: UInt32, at index: StreamTable.Index) {
        for _ in 0..<streams.values[index].arrivalsWithoutCredit {
            arrivals.append(stream)
        }
        streams.values[index].arrivalsWithoutCredit = 0
    }

    mutating func appendArrivals(to bytes: inout [UInt8], maxBytes: Int) {
        while let stream = arrivals.first {
            guard stream != 0 else {
                guard sessionOutbound.isEmpty || appendSessionPart(to: &bytes, maxBytes: maxBytes) else { return }
                if sessionSentOfFirst == 0 { _ = arrivals.popFirst() }
                continue
            }
            guard let index = streams.index(forKey: stream), streams.values[index].termination == nil,
                !streams.values[index].isEndSent
            else {
                _ = arrivals.popFirst()
                continue
            }
            guard let message = streams.values[index].outbound.first else {
                guard streams.values[index].isSendFinished else {
                    _ = arrivals.popFirst()
                    continue
                }
                guard bytes.count + FrameHeader.encodedBytes <= maxBytes else { return }
                _ = arrivals.popFirst()
                appendEnd(of: stream, at: index, to: &bytes)
                continue
            }
            let isOpening = !streams.values[index].isOpenSent
            guard isOpening || streams.values[index].sendCredit >= MuxLimits.minimumDataCostBytes else {
                _ = arrivals.popFirst()
                streams.values[index].arrivalsWithoutCredit += 1
                continue
            }
            guard let space = Self.space(in: bytes, maxBytes: maxBytes, wanted: message.count) else { return }
            let isWhole = appendPart(of: stream, at: index, space: space, asOpen: isOpening, to: &bytes)
            if isWhole { _ = arrivals.popFirst() }
        }
    }
}
