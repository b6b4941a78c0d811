#!/usr/bin/env python3
# Prints the known answers in src/auth.rs, computed with Python's hmac and the openssl program, not with our code.
import hmac,hashlib,subprocess
pw=b'hunter2'; kg=b'0123456789abcdefghij'
cs=(0xa0a1a2a3).to_bytes(4,'little'); bs=(0x01020304).to_bytes(4,'little')
rm=bytes(range(0,16)); rc=bytes(range(16,32)); guid=bytes(range(32,48)); role=0x14; u=b'admin'
user=bytes([role,len(u)])+u
for name,h,t in (('3',hashlib.sha1,12),('17',hashlib.sha256,16)):
    H=lambda k,m: hmac.new(k,m,h).digest()
    print(name,'rakp2',H(pw,cs+bs+rm+rc+guid+user).hex())
    print(name,'rakp3',H(pw,rc+cs+user).hex())
    sik=H(pw,rm+rc+user); sikg=H(kg,rm+rc+user)
    print(name,'sik',sik.hex()); print(name,'sik kg',sikg.hex())
    print(name,'rakp4',H(sik,rm+bs+guid)[:t].hex())
    k1=H(sik,b'\1'*20); k2=H(sik,b'\2'*20)
    print(name,'k1',k1.hex()); print(name,'k2',k2.hex())
    # a sealed chassis status request
    msg=bytes([0x20,0,0xe0,0x81,0x14,1,0x6a]); iv=bytes(range(48,64))
    pad=(16-(len(msg)+1)%16)%16
    clear=msg+bytes(range(1,pad+1))+bytes([pad])
    ct=subprocess.run(['openssl','enc','-aes-128-cbc','-nopad','-K',k2[:16].hex(),'-iv',iv.hex()],input=clear,capture_output=True,check=True).stdout
    body=iv+ct
    s=bytes([6,0xc0])+bs+(7).to_bytes(4,'little')+len(body).to_bytes(2,'little')+body
    p=(4-(len(s)+2)%4)%4
    s+=b'\xff'*p+bytes([p,7])
    print(name,'packet',(bytes([6,0,255,7])+s+H(k1,s)[:t]).hex())
