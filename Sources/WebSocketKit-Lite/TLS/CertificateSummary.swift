import COpenSSL
import Glibc

/// What a certificate says, for people.
public struct CertificateSummary: Sendable {
    /// The DNS names and addresses it is for.
    public let names: [String]
    /// Where it has none of them, its common name, which counts for nothing.
    public let commonNameAlone: String?
    /// Whose it is, as a distinguished name (RFC 2253).
    public let subject: String
    /// Who signed it.
    public let issuer: String
    /// Begin of its validity, in seconds since 1970.
    public let notBefore: Int64
    /// End of its validity, in seconds since 1970.
    public let notAfter: Int64
    /// The SHA-256 of its public key, as `TLSConfiguration.pinSHA256` takes it.
    public let publicKeyPin: String

    private static let maxNamesBytes: Int32 = 4096
    private static let maxNameBytes: Int32 = 512

    init(_ certificate: OpaquePointer) {
        let names = text(maxBytes: Self.maxNamesBytes) { COpenSSL_certificate_names(certificate, $0, $1) }
        subject = text(maxBytes: Self.maxNameBytes) {
            COpenSSL_name_text(X509_get_subject_name(certificate), $0, $1)
        }
        issuer = text(maxBytes: Self.maxNameBytes) { COpenSSL_name_text(X509_get_issuer_name(certificate), $0, $1) }
        let listed = names.split(separator: "\n").map(String.init)
        let commonName = subject.split(separator: ",").first { $0.hasPrefix("CN=") }.map { String($0.dropFirst(3)) }
        self.names = listed
        commonNameAlone = listed.isEmpty ? commonName : nil
        notBefore = COpenSSL_unix_seconds(X509_get0_notBefore(certificate))
        notAfter = COpenSSL_unix_seconds(X509_get0_notAfter(certificate))
        publicKeyPin = PublicKeyPin(of: certificate).map(String.init(describing:)) ?? ""
    }

    /// The names in one line, the first few of many.
    var namesText: String {
        if let commonNameAlone { return "\(commonNameAlone) by its common name alone, which does not count," }
        guard !names.isEmpty else { return "no name at all" }
        let shown = names.prefix(5).joined(separator: ", ")
        return names.count > 5 ? "\(shown) and \(names.count - 5) more" : shown
    }
}

/// Text that C writes into a buffer and counts.
private func text(maxBytes: Int32, _ write: (UnsafeMutablePointer<CChar>, Int32) -> Int32) -> String {
    var buffer = [CChar](repeating: 0, count: Int(clamping: maxBytes))
    let count = write(&buffer, maxBytes)
    return String(decoding: buffer.prefix(Int(clamping: count)).map(UInt8.init(bitPattern:)), as: UTF8.self)
}

/// Dates of certificates in words.
enum CertificateDate {
    /// The machine's wall clock, in seconds since 1970: what certificates are judged by.
    static var now: Int64 { Int64(clamping: time(nil)) }

    /// A point in time like `2026-11-24 05:33 UTC`.
    static func text(_ unixSeconds: Int64) -> String {
        var seconds = time_t(clamping: unixSeconds)
        var parts = tm()
        guard gmtime_r(&seconds, &parts) != nil else { return "an unknown date" }
        func digits(_ value: Int32, _ count: Int) -> String {
            let text = String(value)
            return String(repeating: "0", count: max(0, count - text.utf8.count)) + text
        }
        return digits(parts.tm_year + 1900, 4) + "-" + digits(parts.tm_mon + 1, 2) + "-" + digits(parts.tm_mday, 2)
            + " " + digits(parts.tm_hour, 2) + ":" + digits(parts.tm_min, 2) + " UTC"
    }

    /// A length of time in its largest units: `3 days`, `5 h 12 min`, `40 s`.
    static func text(_ duration: Duration) -> String {
        let seconds = duration.components.seconds
        switch seconds {
        case ..<120: return "\(seconds) s"
        case ..<7200: return "\(seconds / 60) min"
        case ..<172_800: return "\(seconds / 3600) h \(seconds / 60 % 60) min"
        default: return "\(seconds / 86_400) days"
        }
    }
}
