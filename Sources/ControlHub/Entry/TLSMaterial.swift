import Crypto
import Foundation
import Glibc
import SwiftASN1
import X509

/// The hub's own certificate authority and the server certificate it issues, for hubs without one from elsewhere.
///
/// `tls/ca.pem` and `tls/ca-key.pem` are made once. `tls/server.pem` is issued anew at start when it runs out within 30
/// days or the names have changed; its key stays, so that pins stay good.
struct TLSMaterial: Sendable {
    let certificateFile: String
    let keyFile: String
    /// What the files held when they were judged: a server must not open them again by their names.
    let certificatePEM: [UInt8]
    let keyPEM: [UInt8]
    /// Nil where the certificate was given.
    let caFile: String?
    /// SHA-256 of the server certificate's SPKI, hexadecimal.
    let pin: String

    static let authorityLifetime: TimeInterval = 3650 * 86_400
    /// The longest that clients accept of a server certificate.
    static let serverLifetime: TimeInterval = 397 * 86_400
    static let renewBefore: TimeInterval = 30 * 86_400
    /// Certificates begin a little in the past, because nodes' clocks are not exact.
    private static let backdating: TimeInterval = 3600

    /// Reads or makes the private authority and the server certificate.
    ///
    /// - Parameter names: host names and addresses besides localhost.
    static func prepare(in directory: DataDirectory, names: [String], at date: Date) throws -> TLSMaterial {
        try directory.makeFolder("tls")
        let (authority, authorityKey) = try authority(in: directory, at: date)
        let wanted = alternativeNames(names)
        let serverKey = try key("tls/server-key.pem", in: directory)
        let publicKey = Certificate.PublicKey(serverKey.publicKey)
        let existing = try readCertificate("tls/server.pem", in: directory)
        let isGood =
            try existing.map { certificate in
                try certificate.publicKey == publicKey && certificate.issuer == authority.subject
                    && certificate.notValidAfter.timeIntervalSince(date) > renewBefore
                    && authority.publicKey.isValidSignature(certificate.signature, for: certificate)
                    && certificate.extensions.subjectAlternativeNames.map(Array.init) == wanted
            } ?? false
        if !isGood {
            let certificate = try issue(
                publicKey,
                names: wanted,
                authority: authority,
                authorityKey: authorityKey,
                at: date
            )
            let chain = try certificate.serializeAsPEM().pemString + "\n" + authority.serializeAsPEM().pemString + "\n"
            try directory.write(Data(chain.utf8), to: "tls/server.pem", mode: 0o644)
        }
        return TLSMaterial(
            certificateFile: directory.file("tls/server.pem"),
            keyFile: directory.file("tls/server-key.pem"),
            certificatePEM: Array(try directory.read("tls/server.pem") ?? Data()),
            keyPEM: Array(serverKey.pemRepresentation.utf8),
            caFile: directory.file("tls/ca.pem"),
            pin: try pin(of: publicKey)
        )
    }

    /// A certificate and key of the operator's own. Throws when they cannot be read or do not belong together.
    static func given(certificate: String, key: String) throws -> TLSMaterial {
        let chain = try text(certificate, what: "the certificate")
        let keyText = try text(key, what: "the certificate's key")
        let leaf: Certificate
        do {
            guard
                let first = try PEMDocument.parseMultiple(pemString: chain).first(where: {
                    $0.discriminator == "CERTIFICATE"
                })
            else { throw StartFailure(.dataError, "\(certificate) holds no certificate in PEM form.") }
            leaf = try Certificate(pemDocument: first)
        } catch let failure as StartFailure {
            throw failure
        } catch {
            throw StartFailure(
                .dataError,
                "the certificate \(certificate) cannot be read: it is no certificate in PEM form."
            )
        }
        // `try?`: the cause is in the text
        guard let privateKey = try? Certificate.PrivateKey(pemEncoded: keyText) else {
            throw StartFailure(
                .dataError,
                "the key \(key) cannot be read: it is no unencrypted private key in PEM form."
            )
        }
        guard privateKey.publicKey == leaf.publicKey else {
            throw StartFailure(.dataError, "the key \(key) does not belong to the certificate \(certificate).")
        }
        return TLSMaterial(
            certificateFile: certificate,
            keyFile: key,
            certificatePEM: Array(chain.utf8),
            keyPEM: Array(keyText.utf8),
            caFile: nil,
            pin: try pin(of: leaf.publicKey)
        )
    }

    private static func authority(
        in directory: DataDirectory,
        at date: Date
    ) throws -> (Certificate, Certificate.PrivateKey) {
        let key = try key("tls/ca-key.pem", in: directory)
        let privateKey = Certificate.PrivateKey(key)
        if let existing = try readCertificate("tls/ca.pem", in: directory) {
            guard existing.publicKey == privateKey.publicKey else {
                throw StartFailure(
                    .dataError,
                    "tls/ca.pem and tls/ca-key.pem in \(directory.path) do not belong together. Restore both."
                )
            }
            return (existing, privateKey)
        }
        let name = try DistinguishedName {
            CommonName("ControlHub private authority")
        }
        let certificate = try Certificate(
            version: .v3,
            serialNumber: Certificate.SerialNumber(),
            publicKey: privateKey.publicKey,
            notValidBefore: date.addingTimeInterval(-backdating),
            notValidAfter: date.addingTimeInterval(authorityLifetime),
            issuer: name,
            subject: name,
            signatureAlgorithm: .ecdsaWithSHA256,
            extensions: try Certificate.Extensions {
                Critical(BasicConstraints.isCertificateAuthority(maxPathLength: 0))
                Critical(KeyUsage(keyCertSign: true, cRLSign: true))
                SubjectKeyIdentifier(hash: privateKey.publicKey)
            },
            issuerPrivateKey: privateKey
        )
        let text = try certificate.serializeAsPEM().pemString + "\n"
        try directory.write(Data(text.utf8), to: "tls/ca.pem", mode: 0o644)
        return (certificate, privateKey)
    }

    private static func issue(
        _ publicKey: Certificate.PublicKey,
        names: [GeneralName],
        authority: Certificate,
        authorityKey: Certificate.PrivateKey,
        at date: Date
    ) throws -> Certificate {
        let end = min(date.addingTimeInterval(serverLifetime), authority.notValidAfter)
        return try Certificate(
            version: .v3,
            serialNumber: Certificate.SerialNumber(),
            publicKey: publicKey,
            notValidBefore: date.addingTimeInterval(-backdating),
            notValidAfter: end,
            issuer: authority.subject,
            subject: try DistinguishedName { CommonName("ControlHub") },
            signatureAlgorithm: .ecdsaWithSHA256,
            extensions: try Certificate.Extensions {
                Critical(BasicConstraints.notCertificateAuthority)
                Critical(KeyUsage(digitalSignature: true))
                try ExtendedKeyUsage([.serverAuth])
                SubjectAlternativeNames(names)
                SubjectKeyIdentifier(hash: publicKey)
                AuthorityKeyIdentifier(
                    keyIdentifier: SubjectKeyIdentifier(hash: authority.publicKey).keyIdentifier
                )
            },
            issuerPrivateKey: authorityKey
        )
    }

    /// localhost and its addresses, then the given names, each once.
    static func alternativeNames(_ names: [String]) -> [GeneralName] {
        var result: [GeneralName] = []
        for name in ["localhost", "127.0.0.1", "::1"] + names {
            let general: GeneralName
            if let address = addressBytes(name) {
                general = .ipAddress(ASN1OctetString(contentBytes: address[...]))
            } else {
                general = .dnsName(name.lowercased())
            }
            if !result.contains(general) { result.append(general) }
        }
        return result
    }

    private static func addressBytes(_ text: String) -> [UInt8]? {
        var four = in_addr()
        if inet_pton(AF_INET, text, &four) == 1 { return withUnsafeBytes(of: &four, Array.init) }
        var six = in6_addr()
        if inet_pton(AF_INET6, text, &six) == 1 { return withUnsafeBytes(of: &six, Array.init) }
        return nil
    }

    private static func key(_ name: String, in directory: DataDirectory) throws -> P256.Signing.PrivateKey {
        if let data = try directory.read(name) {
            let text = String(decoding: data, as: UTF8.self)
            do {
                return try P256.Signing.PrivateKey(pemRepresentation: text)
            } catch {
                throw StartFailure(.dataError, "\(directory.file(name)) is damaged. Restore it from a backup.")
            }
        }
        let key = P256.Signing.PrivateKey()
        try directory.write(Data((key.pemRepresentation + "\n").utf8), to: name)
        return key
    }

    private static func readCertificate(_ name: String, in directory: DataDirectory) throws -> Certificate? {
        guard let data = try directory.read(name) else { return nil }
        let text = String(decoding: data, as: UTF8.self)
        do {
            return try PEMDocument.parseMultiple(pemString: text).first.map { try Certificate(pemDocument: $0) }
        } catch {
            throw StartFailure(
                .dataError,
                "the certificate \(directory.file(name)) cannot be read. Restore it, or remove it to get a new one."
            )
        }
    }

    private static func text(_ path: String, what: String) throws -> String {
        guard let data = NamedFile.read(path) else {
            let reason = access(path, R_OK) == 0 ? "it is no file" : String(cString: strerror(errno))
            throw StartFailure(.dataError, "\(what) \(path) cannot be read: \(reason).")
        }
        return String(decoding: data, as: UTF8.self)
    }

    /// The SHA-256 of the key's SubjectPublicKeyInfo in DER, algorithm included, as RFC 7469 §2.4 and agents have it.
    static func pin(of key: Certificate.PublicKey) throws -> String {
        SHA256.hash(data: Data(try key.serializeAsPEM().derBytes)).map { byte in
            let text = String(byte, radix: 16)
            return text.count == 1 ? "0" + text : text
        }.joined()
    }
}
