/// Writes frames (RFC 6455 §5.2).
enum FrameSerializer {
    /// The most bytes a header takes.
    static let maxHeaderBytes = 14

    /// Appends one whole frame to `output`, masking the payload when the header has a key.
    static func append(
        isFinal: Bool = true,
        opcode: Opcode,
        maskingKey: UInt32?,
        payload: UnsafeRawBufferPointer,
        to output: inout [UInt8]
    ) {
        let header = FrameHeader(
            isFinal: isFinal,
            opcode: opcode,
            maskingKey: maskingKey,
            payloadBytes: payload.count
        )
        append(header, to: &output)
        let payloadStart = output.count
        output.append(contentsOf: payload)
        if let maskingKey {
            output.withUnsafeMutableBytes { bytes in
                let masked = UnsafeMutableRawBufferPointer(rebasing: bytes[payloadStart...])
                Masking.apply(maskingKey, offset: 0, to: masked)
            }
        }
    }

    /// Appends a header, with the length in its shortest form.
    static func append(_ header: FrameHeader, to output: inout [UInt8]) {
        output.append((header.isFinal ? 0x80 : 0) | header.reservedBits.rawValue | header.opcode.rawValue)
        let maskBit: UInt8 = header.maskingKey == nil ? 0 : 0x80
        let length = header.payloadBytes
        switch length {
        case ..<126:
            output.append(maskBit | UInt8(length))
        case ...Int(UInt16.max):
            output.append(maskBit | 126)
            appendBigEndian(UInt64(length), byteCount: 2, to: &output)
        default:
            output.append(maskBit | 127)
            appendBigEndian(UInt64(length), byteCount: 8, to: &output)
        }
        if let key = header.maskingKey {
            appendBigEndian(UInt64(key), byteCount: 4, to: &output)
        }
    }

    private static func appendBigEndian(_ value: UInt64, byteCount: Int, to output: inout [UInt8]) {
        for shift in stride(from: (byteCount - 1) * 8, through: 0, by: -8) {
            output.append(UInt8(truncatingIfNeeded: value >> UInt64(shift)))
        }
    }
}
