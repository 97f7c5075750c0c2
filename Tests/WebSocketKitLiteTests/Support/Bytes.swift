@testable import WebSocketKitLite

/// Bytes from hexadecimal digits; blanks are for the reader.
func hex(_ text: String) -> [UInt8] {
    let digits = Array(text.filter { !$0.isWhitespace })
    return stride(from: 0, to: digits.count, by: 2).compactMap { UInt8(String(digits[$0...($0 + 1)]), radix: 16) }
}

/// One frame as a client (with a key) or a server (without) would send it, legal or not.
func frame(
    _ opcode: Opcode,
    _ payload: [UInt8] = [],
    isFinal: Bool = true,
    reserved: UInt8 = 0,
    key: UInt32? = nil
) -> [UInt8] {
    var output: [UInt8] = []
    let header = FrameHeader(isFinal: isFinal, opcode: opcode, maskingKey: key, payloadBytes: payload.count)
    payload.withUnsafeBytes { FrameSerializer.append(header, payload: $0, to: &output) }
    output[0] |= reserved
    return output
}

/// Every way to cut `bytes` in two, and the bytes one at a time.
func splits(of bytes: [UInt8]) -> [[ArraySlice<UInt8>]] {
    (0...bytes.count).map { [bytes[..<$0], bytes[$0...]] } + [bytes.indices.map { bytes[$0...$0] }]
}
