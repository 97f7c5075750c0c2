import Crypto
import Foundation

/// What a directory holds, so that two of them can be compared.
enum TreeHash {
    /// A line for each file and link below a directory, by path: mode, SHA-256 or target, path.
    static func lines(_ root: URL) throws -> [String] {
        let manager = FileManager.default
        guard let all = manager.enumerator(atPath: root.path) else { throw Failure("no directory \(root.path)") }
        return try all.compactMap { $0 as? String }.sorted().map { path in
            let full = root.appending(path: path).path
            let attributes = try manager.attributesOfItem(atPath: full)
            let mode = String((attributes[.posixPermissions] as? Int ?? 0) & 0o777, radix: 8)
            switch attributes[.type] as? FileAttributeType {
            case .typeDirectory?: return "\(mode) directory \(path)"
            case .typeSymbolicLink?: return "link \(try manager.destinationOfSymbolicLink(atPath: full)) \(path)"
            default:
                let digest = SHA256.hash(data: try Data(contentsOf: URL(fileURLWithPath: full)))
                return "\(mode) \(digest.map { String(format: "%02x", $0) }.joined()) \(path)"
            }
        }
    }
}
