/// One event of a stream.
struct ReceivedEvent: Equatable, Sendable {
    var type = "message"
    var data = ""
    /// The stream's last id, which may be an earlier event's; nil before the first.
    var id: String?
}

/// Takes a `text/event-stream` apart (HTML standard, section 9.2.6).
///
/// Bytes come in pieces of any size; an event is complete at the empty line after it.
struct ServerSentEventParser: Sendable {
    /// More than the largest event of a hub, a page of a log. A server that sends longer ones is none.
    static let maximumEventBytes = 16 << 20

    private var line: [UInt8] = []
    private var isAfterCarriageReturn = false
    private var isFirstLine = true
    private var event = ReceivedEvent()
    private var data: String?

    /// Takes what was received, and gives the events that are complete with it. Throws `StartFailure` for an event that
    /// is too long.
    mutating func receive(_ bytes: [UInt8]) throws(StartFailure) -> [ReceivedEvent] {
        var events: [ReceivedEvent] = []
        for byte in bytes {
            let isEndOfPair = isAfterCarriageReturn && byte == 0x0A
            isAfterCarriageReturn = byte == 0x0D
            if isEndOfPair { continue }
            guard byte == 0x0A || byte == 0x0D else {
                line.append(byte)
                continue
            }
            if let complete = takeLine() { events.append(complete) }
            line.removeAll(keepingCapacity: true)
        }
        guard line.count + (data?.utf8.count ?? 0) <= Self.maximumEventBytes else {
            throw StartFailure(
                .unavailable,
                "the hub sent an event of more than \(Self.maximumEventBytes) bytes. Check that the URL is a hub's."
            )
        }
        return events
    }

    /// Takes the line that has ended. An empty one ends the event.
    private mutating func takeLine() -> ReceivedEvent? {
        if isFirstLine {
            isFirstLine = false
            if line.starts(with: [0xEF, 0xBB, 0xBF]) { line.removeFirst(3) }
        }
        guard !line.isEmpty else {
            defer {
                event.type = "message"
                data = nil
            }
            guard let data else { return nil }
            event.data = data
            return event
        }
        let colon = line.firstIndex(of: UInt8(ascii: ":"))
        var value = colon.map { line[($0 + 1)...] } ?? []
        if value.first == UInt8(ascii: " ") { value = value.dropFirst() }
        let text = String(decoding: value, as: UTF8.self)
        switch String(decoding: line[..<(colon ?? line.endIndex)], as: UTF8.self) {
        case "event": event.type = text.isEmpty ? "message" : text
        case "data": data = data.map { $0 + "\n" + text } ?? text
        case "id" where !value.contains(0): event.id = text
        default: break
        }
        return nil
    }
}
