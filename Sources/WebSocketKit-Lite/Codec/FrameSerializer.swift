/// Writes frames (RFC 6455 §5.2).
enum FrameSerializer {
    /// The most bytes a header takes.
    static let maxHeaderBytes = 14

    /// Appends one whole frame to `output`, masking the payload when the header has a key.
    static func append(_ header: FrameHeader, payload: UnsafeRawBufferPointer, to output: inout [UInt8]) {
        precondition(header.payloadBytes == payload.count)
        output.append(addingCapacity: maxHeaderBytes + payload.count) { span in
            span.withUnsafeMutableBufferPointer { buffer, initializedCount in
                guard let base = buffer.baseAddress else { return }
                let frame = UnsafeMutableRawPointer(base + initializedCount)
                let headerBytes = write(header, to: frame)
                let target = frame + headerBytes
                if let key = header.maskingKey {
                    Masking.copy(payload, to: target, key: key, offset: 0)
                } else if let source = payload.baseAddress {
                    target.copyMemory(from: source, byteCount: payload.count)
                }
                initializedCount += headerBytes + payload.count
            }
        }
    }

    /// Appends a header, with the length in its shortest form.
    static func append(_ header: FrameHeader, to output: inout [UInt8]) {
        output.append(addingCapacity: maxHeaderBytes) { span in
            span.withUnsafeMutableBufferPointer { buffer, initializedCount in
                guard let base = buffer.baseAddress else { return }
                initializedCount += write(header, to: UnsafeMutableRawPointer(base + initializedCount))
            }
        }
    }

    /// Writes a header of at most `maxHeaderBytes` bytes to `target` and returns how many it has.
    private static func write(_ header: FrameHeader, to target: UnsafeMutableRawPointer) -> Int {
        let first = (header.isFinal ? 0x80 : 0) | header.reservedBits.rawValue | header.opcode.rawValue
        target.storeBytes(of: first, as: UInt8.self)
        let maskBit: UInt8 = header.maskingKey == nil ? 0 : 0x80
        let length = header.payloadBytes
        var used: Int
        switch length {
        case ..<126:
            target.storeBytes(of: maskBit | UInt8(clamping: length), toByteOffset: 1, as: UInt8.self)
            used = 2
        case ...Int(UInt16.max):
            target.storeBytes(of: maskBit | 126, toByteOffset: 1, as: UInt8.self)
            target.storeBytes(of: UInt16(clamping: length).bigEndian, toByteOffset: 2, as: UInt16.self)
            used = 4
        default:
            target.storeBytes(of: maskBit | 127, toByteOffset: 1, as: UInt8.self)
            target.storeBytes(of: UInt64(clamping: length).bigEndian, toByteOffset: 2, as: UInt64.self)
            used = 10
        }
        if let key = header.maskingKey {
            target.storeBytes(of: key.bigEndian, toByteOffset: used, as: UInt32.self)
            used += 4
        }
        return used
    }
}
