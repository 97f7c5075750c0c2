import WebSocketKitLite
import WireFormat

/// SHA-256 as the parts of a transfer use it.
enum ContentDigest {
    static let function: Digest256.Function = { bytes in
        // A digest always has 32 bytes.
        Digest256(SHA256Hasher.digest(bytes)) ?? .zero
    }

    /// For content that comes in pieces.
    static func hasher() throws(WorkspaceFailure) -> SHA256Hasher {
        guard let hasher = SHA256Hasher() else { throw WorkspaceFailure(.unavailable, "OpenSSL has no SHA-256") }
        return hasher
    }
}

extension SHA256Hasher {
    func digest() -> Digest256 { Digest256(finish()) ?? .zero }

    func update(_ bytes: [UInt8]) { bytes.withUnsafeBytes { update($0) } }

    /// Takes so many zeros: a hole costs whoever tells of it nothing, and this a second for each gigabyte. Ends with its task.
    func update(zeros count: UInt64) throws(WorkspaceFailure) {
        let zeros = [UInt8](repeating: 0, count: Int(clamping: min(count, 64 << 10)))
        var left = count
        while left > 0 {
            try WorkspaceFailure.checkCancellation()
            let step = Int(clamping: min(left, UInt64(zeros.count)))
            zeros.withUnsafeBytes { update(UnsafeRawBufferPointer(rebasing: $0.prefix(step))) }
            left -= UInt64(clamping: step)
        }
    }
}
