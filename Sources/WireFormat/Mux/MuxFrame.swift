/// One whole mux frame in a form to write or compare.
///
/// The machine reads frames in place; this type builds the frames it sends, and lets tests and other tools name them.
public enum MuxFrame: Sendable, Equatable {
    case open(stream: UInt32, payload: [UInt8], more: Bool)
    case data(stream: UInt32, payload: [UInt8], more: Bool)
    case window(stream: UInt32, creditBytes: UInt32)
    case end(stream: UInt32)
    case reset(stream: UInt32, code: StreamResetCode, reason: String)
    case goAway(code: UInt32, lastStream: UInt32, reason: String)

    /// Reasons are cut to this many bytes of UTF-8 before they are sent.
    public static let maxReasonBytes = 1024

    /// The frame's bytes, header included.
    public var encoded: [UInt8] {
        var bytes: [UInt8] = []
        encode(into: &bytes)
        return bytes
    }

    /// Appends the frame's bytes. OPEN and DATA payloads must not exceed `MuxLimits.maxFramePayloadBytes`.
    public func encode(into bytes: inout [UInt8]) {
        switch self {
        case .open(let stream, let payload, let more):
            Self.append(.open, more: more, stream: stream, payload: payload[...], to: &bytes)
        case .data(let stream, let payload, let more):
            Self.append(.data, more: more, stream: stream, payload: payload[...], to: &bytes)
        case .window(let stream, let creditBytes):
            FrameHeader(type: .window, payloadBytes: 4, stream: stream).encode(into: &bytes)
            creditBytes.appendBigEndian(to: &bytes)
        case .end(let stream):
            FrameHeader(type: .end, payloadBytes: 0, stream: stream).encode(into: &bytes)
        case .reset(let stream, let code, let reason):
            let text = Array(reason.clipped(toUTF8Bytes: Self.maxReasonBytes).utf8)
            FrameHeader(type: .reset, payloadBytes: 4 + text.count, stream: stream).encode(into: &bytes)
            code.rawValue.appendBigEndian(to: &bytes)
            bytes.append(contentsOf: text)
        case .goAway(let code, let lastStream, let reason):
            let text = Array(reason.clipped(toUTF8Bytes: Self.maxReasonBytes).utf8)
            FrameHeader(type: .goAway, payloadBytes: 8 + text.count, stream: 0).encode(into: &bytes)
            code.appendBigEndian(to: &bytes)
            lastStream.appendBigEndian(to: &bytes)
            bytes.append(contentsOf: text)
        }
    }

    static func append(
        _ type: FrameType,
        more: Bool,
        stream: UInt32,
        payload: ArraySlice<UInt8>,
        to bytes: inout [UInt8]
    ) {
        let flags = more ? FrameHeader.moreFlag : 0
        FrameHeader(type: type, flags: flags, payloadBytes: payload.count, stream: stream).encode(into: &bytes)
        bytes.append(contentsOf: payload)
    }
}

extension String {
    /// The beginning that fits, cut at a character boundary so that it stays valid UTF-8.
    func clipped(toUTF8Bytes limit: Int) -> String {
        guard utf8.count > limit else { return self }
        var scalars = String.UnicodeScalarView()
        var bytes = 0
        for scalar in unicodeScalars {
            bytes += UTF8.width(scalar)
            guard bytes <= limit else { break }
            scalars.append(scalar)
        }
        return String(scalars)
    }
}
