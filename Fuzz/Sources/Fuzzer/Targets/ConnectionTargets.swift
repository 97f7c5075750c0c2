import TestSupport

@testable import WebSocketKitLite

extension FuzzTarget {
    /// Whatever arrives, a connection machine of either role says exactly once how it ended, closes the transport
    /// exactly once and last, and what it does depends on the bytes and not on the pieces they came in.
    static let connection = FuzzTarget("connection") { input in
        let role: ConnectionMachine.Role = input.bool() ? .server : .client
        let closesFirst = input.bool()
        try compareLives(role, closesFirst: closesFirst, deflate: nil, &input)
    }

    /// The same where compression was agreed on.
    static let connectionDeflate = FuzzTarget("connection-deflate") { input in
        let role: ConnectionMachine.Role = input.bool() ? .server : .client
        var deflate = deflateAgreement(&input)
        // zlib overlooks references beyond a smaller window, or not, depending on the pieces.
        deflate.serverMaxWindowBits = 15
        deflate.clientMaxWindowBits = 15
        try compareLives(role, closesFirst: false, deflate: deflate, &input)
    }

    private static func compareLives(
        _ role: ConnectionMachine.Role,
        closesFirst: Bool,
        deflate: PerMessageDeflate.Agreement?,
        _ input: inout ByteReader
    ) throws {
        let seed = input.uint16()
        let bytes = input.rest()
        func life(_ pieces: [ArraySlice<UInt8>], _ style: Life.Style) throws -> Life {
            try Life(role, closesFirst: closesFirst, deflate: deflate, pieces: pieces, style)
        }
        let whole = try life([bytes[...]], .drainedLate)
        let pieces = bytes.pieces(seed: seed)
        for other in [bytes.pieces(seed: 0), pieces] {
            let split = try life(other, .drainedLate)
            try check(split.agrees(with: whole, isCompressed: deflate != nil), "pieces: \(split), at once: \(whole)")
        }
        // Answers to pings may be fewer where nobody writes them, so these agree in all but what was written.
        for style in [Life.Style.drainedOften, .inPlace] {
            var other = try life(pieces, style)
            other.written = whole.written
            try check(other.agrees(with: whole, isCompressed: deflate != nil), "\(style): \(other), at once: \(whole)")
        }
    }

    /// A Close frame's payload is either refused with 1002 or 1007, or says what it holds and is written the same way.
    static let closeFrame = FuzzTarget("close-frame") { input in
        let payload = input.bytes(FrameParser.maxControlPayloadBytes)
        do {
            let frame = try CloseFrame(payload: payload)
            try check(frame.code.isAllowedOnWire || payload.isEmpty, "code \(frame.code) was taken")
            try check(frame.payload == payload, "\(payload) came back as \(frame.payload)")
        } catch let violation as ProtocolViolation {
            let isText = String(validating: payload.dropFirst(2), as: UTF8.self) != nil
            let expected: CloseCode = isText || payload.count < 2 ? .protocolError : violation.closeCode
            try check(violation.closeCode == expected, "valid text refused with \(violation)")
            try check([.protocolError, .invalidPayload].contains(violation.closeCode), "answered with \(violation)")
        }
    }
}

/// What a machine did from its first byte to the end of the transport.
private struct Life {
    enum Style {
        /// Actions are performed once everything has arrived.
        case drainedLate
        /// Actions are performed after every piece, and written in small parts.
        case drainedOften
        /// As a driver does that lets the transport write straight into large messages.
        case inPlace
    }

    private static let start = ContinuousClock.now
    private static let maxMessageBytes = 2000

    var messages: [WebSocketMessage] = []
    var written: [UInt8] = []
    var status: CloseStatus?
    private var closedTransport = 0

    init(
        _ role: ConnectionMachine.Role,
        closesFirst: Bool,
        deflate: PerMessageDeflate.Agreement?,
        pieces: [ArraySlice<UInt8>],
        _ style: Style
    ) throws {
        var configuration = ConnectionConfiguration()
        configuration.maxMessageBytes = Self.maxMessageBytes
        var machine = ConnectionMachine(
            role: role,
            configuration: configuration,
            deflate: deflate,
            maskingKeys: SeededRandom(seed: 1),
            now: Self.start
        )
        if closesFirst { try machine.close(now: Self.start) }
        for piece in pieces {
            var rest = piece
            while style == .inPlace, machine.missingBytesInPlace > 0, !rest.isEmpty {
                let count = min(machine.missingBytesInPlace, rest.count)
                machine.receiveInPlace(maxBytes: count, now: Self.start) { room in
                    room.copyBytes(from: rest.prefix(count))
                    return count
                }
                rest = rest.dropFirst(count)
            }
            machine.receive(rest, now: Self.start)
            if style != .drainedLate { try drain(&machine, inParts: style == .drainedOften) }
        }
        try drain(&machine, inParts: false)
        machine.receiveEOF(now: Self.start)
        try drain(&machine, inParts: false)
        try check(status != nil && status == machine.closeStatus, "the end of the transport was not reported")
        try check(closedTransport == 1, "the transport was closed \(closedTransport) times")
        try check(machine.nextDeadline == nil, "an ended machine waits for \(String(describing: machine.nextDeadline))")
        try check(machine.queuedWriteBytes == 0 && machine.undeliveredBytes == 0, "something was left behind")
    }

    /// A compressed text that is both too long and no text may be refused for either, whichever is noticed first.
    func agrees(with other: Life, isCompressed: Bool) -> Bool {
        guard messages == other.messages else { return false }
        guard isCompressed, status?.failure != nil else { return status == other.status && written == other.written }
        return other.status?.failure != nil
    }

    private mutating func drain(_ machine: inout ConnectionMachine, inParts: Bool) throws {
        while inParts, machine.queuedWriteBytes > 0 {
            let part = [UInt8](unsafeUninitializedCapacity: 7) { buffer, count in
                count = machine.takeWrite(into: UnsafeMutableRawBufferPointer(buffer))
            }
            try check(!part.isEmpty, "\(machine.queuedWriteBytes) bytes wait, and none came")
            written += part
        }
        while let action = machine.nextAction() {
            try check(closedTransport == 0, "\(action) after the transport was closed")
            switch action {
            case .write(let bytes):
                written += bytes
            case .deliver(let message):
                try check(status == nil, "a message after the end was reported")
                try check(message.byteCount <= Self.maxMessageBytes, "a message of \(message.byteCount) bytes")
                messages.append(message)
            case .closed(let closed):
                try check(status == nil, "the end was reported twice: \(closed)")
                status = closed
            case .closeTransport:
                closedTransport += 1
            }
        }
    }
}
